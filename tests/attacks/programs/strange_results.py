"""Returns what is no vector, from an object that acts when it is looked at."""

ROWS = (16, 17, 18)
CONTROL = (
    "an answer is a fixed number of real numbers, converted in the block's own process; anything else is its default"
)
ENDS = "fails"


class Strange(dict):
    def __getitem__(self, key):
        return [[[float("nan")]] * 1000, 10**400, "1" * (1 << 20), object()]

    def __len__(self):
        return 1 << 40

    def __iter__(self):
        return iter(("hit", "seen", "\u202e", "\ud800"))


def analyse(tables, params):
    return Strange()
