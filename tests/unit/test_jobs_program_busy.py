"""However many programs are sent at once, one is read, few wait, the rest are told so; and nothing is read twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import Invalid, Unavailable
from jobs import program_check
from jobs.program_check import checked_imports, planned_for

IMAGE = frozenset({"numpy"})
WAITING = 4
NOTHING = b'{"imports": []}'


class Reader:
    """Stands in for the short-lived process: reads until it is let go, and counts how many do at a time."""

    def __init__(self, answer=NOTHING):
        self.answer, self.read, self.at_once, self.most = answer, [], 0, 0
        self.begun, self.let_go, self.lock = threading.Semaphore(0), threading.Event(), threading.Lock()

    def __call__(self, _reader, _arguments, document, _limits):
        with self.lock:
            self.read.append(document.decode())
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.begun.release()
        try:
            assert self.let_go.wait(20)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer
        finally:
            with self.lock:
                self.at_once -= 1


@pytest.fixture
def reader(monkeypatch):
    made = Reader()
    monkeypatch.setattr(program_check, "validated", made)
    program_check._read.cache_clear()
    yield made
    made.let_go.set()
    program_check._read.cache_clear()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(WAITING + 4) as made:
        yield made


def until_waiting(count):
    """Until so many places are taken: those who wait are in the way of the next."""
    for _ in range(2000):
        if program_check._WAITING._value == WAITING - count:
            return
        threading.Event().wait(0.005)
    raise AssertionError("they do not wait")


def sent(pool, *texts):
    return [pool.submit(checked_imports, text, IMAGE) for text in texts]


def test_few_wait_and_the_next_is_told_to_come_again(reader, pool):
    waiting = sent(pool, *(f"program {number}" for number in range(WAITING)))
    assert reader.begun.acquire(timeout=20)
    until_waiting(WAITING)
    for _ in range(3):
        with pytest.raises(Unavailable) as busy:
            checked_imports("one more", IMAGE)
        assert busy.value.code == "program.busy"
        assert "try again" in busy.value.way_out
    assert len(reader.read) == 1, "and nobody of those who wait is read beside another"
    reader.let_go.set()
    assert [each.result(20) for each in waiting] == [()] * WAITING
    assert reader.most == 1
    assert sorted(reader.read) == [f"program {number}" for number in range(WAITING)]


def test_that_it_was_busy_is_not_remembered(reader, pool):
    waiting = sent(pool, *(f"program {number}" for number in range(WAITING)))
    until_waiting(WAITING)
    with pytest.raises(Unavailable):
        checked_imports("one more", IMAGE)
    reader.let_go.set()
    for each in waiting:
        each.result(20)
    assert checked_imports("one more", IMAGE) == ()
    assert reader.read.count("one more") == 1


def test_nobody_takes_more_than_one_place(reader, pool):
    """Or one researcher's many new programs would keep all others from planning theirs."""

    def planned(person, text):
        with planned_for(person):
            return checked_imports(text, IMAGE)

    first = pool.submit(planned, "rob", "rob's first")
    assert reader.begun.acquire(timeout=20)
    for number in range(3):
        with pytest.raises(Unavailable, match="another program of yours") as busy:
            planned("rob", f"rob's next {number}")
        assert busy.value.code == "program.busy"
    until_waiting(1)
    other = pool.submit(planned, "rita", "rita's")
    until_waiting(2)
    reader.let_go.set()
    assert [first.result(20), other.result(20)] == [(), ()]
    assert planned("rob", "rob's next") == ()
    assert not program_check._READING


def test_a_known_program_is_answered_while_others_wait(reader, pool):
    reader.let_go.set()
    assert checked_imports("known", IMAGE) == ()
    reader.let_go.clear()
    waiting = sent(pool, *(f"program {number}" for number in range(WAITING)))
    until_waiting(WAITING)
    assert checked_imports("known", IMAGE) == ()
    reader.let_go.set()
    for each in waiting:
        each.result(20)
    assert reader.read.count("known") == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"problem": "program.no_analyse", "text": "none", "line": 1, "column": 1}', "program.no_analyse"),
        (b'{"imports": [{"module": "torch", "guarded": false, "line": 2, "column": 1}]}', "program.import"),
    ],
)  # fmt: skip
def test_refusals_are_remembered_so_that_a_costly_text_is_read_once(reader, answer, code):
    reader.answer = answer
    reader.let_go.set()
    for _ in range(5):
        with pytest.raises(Invalid) as refused:
            checked_imports("costly", IMAGE)
        assert refused.value.code == code
    assert reader.read == ["costly"]


def test_what_the_image_has_is_asked_each_time(reader):
    """Remembered is what the text says, not what an image made of it."""
    reader.answer = b'{"imports": [{"module": "torch", "guarded": false, "line": 2, "column": 1}]}'
    reader.let_go.set()
    with pytest.raises(Invalid):
        checked_imports("uses torch", IMAGE)
    assert checked_imports("uses torch", IMAGE | {"torch"}) == ("torch",)
    assert reader.read == ["uses torch"]


def test_a_reader_that_fails_gives_its_place_back_and_is_asked_again(reader):
    reader.let_go.set()
    reader.answer = OSError("no process can be made")
    for _ in range(2 * WAITING):
        with pytest.raises(OSError, match="no process"):
            checked_imports("unlucky", IMAGE)
    reader.answer = NOTHING
    assert checked_imports("unlucky", IMAGE) == ()
    assert program_check._WAITING._value == WAITING


def test_so_many_are_remembered_and_no_more(reader):
    """A researcher with many texts must not fill the server's memory."""
    reader.let_go.set()
    for number in range(100):
        checked_imports(f"program {number}", IMAGE)
    assert program_check._read.cache_info().currsize <= 64
    checked_imports("program 99", IMAGE)
    checked_imports("program 0", IMAGE)
    assert (reader.read.count("program 99"), reader.read.count("program 0")) == (1, 2)
