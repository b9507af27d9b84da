"""The images: built once, pinned by their content, with nothing in them that a program could do without."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import docker
import pytest
from docker.types import LogConfig

pytestmark = pytest.mark.docker

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = CHECKOUT / "runtime_images"
SHARED = {
    "/banyan/lib/banyan/__init__.py": b"",
    "/banyan/lib/banyan/frames.py": (CHECKOUT / "client" / "banyan" / "frames.py").read_bytes(),
}
SUMS = "find /banyan -type f -exec sha256sum {} +"
SCIENCE = ["numpy", "pandas", "polars", "pyarrow", "duckdb", "sklearn.linear_model", "scipy.stats"]
SCIENCE += ["statsmodels.api", "lifelines"]


@pytest.fixture(scope="module")
def engine(docker_host):
    client = docker.DockerClient(base_url=docker_host)
    yield client
    client.close()


@pytest.fixture(scope="module", params=["query", "python"])
def image(request):
    return request.getfixturevalue(f"{request.param}_image")


def output_of(engine, image, *command, sees_everything=False):
    """What a locked-down container prints; a program that fails raises."""
    output = engine.containers.run(
        image,
        list(command),
        user="0:0" if sees_everything else None,
        cap_add=["DAC_READ_SEARCH"] if sees_everything else [],
        labels={"banyan.test": "images"},
        network_disabled=True,
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "size=16m"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="1g",
        log_config=LogConfig(type=LogConfig.types.JSON),
        stderr=True,
        remove=True,
    )
    return output.decode()


def python(engine, image, program):
    return output_of(engine, image, "python3", "-I", "-W", "error", "-c", program)


def in_images_folder(program, folder=IMAGES, **environment):
    """Runs a line of the build's own code in a process of its own, as `just images` does."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    ).stdout.strip()


def test_the_mapping_says_what_the_engine_holds(engine):
    mapping = json.loads((CHECKOUT / ".banyan" / "images.json").read_text())
    for name in ("query", "python"):
        found = engine.images.get(mapping[name]["reference"])
        assert found.id == mapping[name]["id"]
        assert found.attrs["RootFS"]["Layers"] == mapping[name]["diff_ids"]
        assert found.labels["banyan.image"] == "1"
        assert found.labels["banyan.image.recipe"] == mapping[name]["recipe"]


def test_both_images_stand_on_one_base(engine, query_image, python_image):
    layers = [engine.images.get(image).attrs["RootFS"]["Layers"] for image in (query_image, python_image)]
    assert layers[0][0] == layers[1][0]


def test_what_is_built_is_not_built_again(docker_host, query_image, python_image):
    mapping = CHECKOUT / ".banyan" / "images.json"
    before = mapping.read_text()
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(IMAGES / "build.py")],
        env={**os.environ, "DOCKER_HOST": docker_host},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert time.monotonic() - started < 3
    assert mapping.read_text() == before


def test_the_image_id_follows_from_the_content_alone(engine, query_image, tmp_path):
    program = (
        "import build, layers, pathlib, json\n"
        "parts = build.build_layers(['query'])['query']\n"
        "config = layers.image_config(parts, build.settings('query'), build.ARCHITECTURES[build.platform.machine()])\n"
        "print(json.dumps([layers.hashlib.sha256(config).hexdigest(), *[p.diff_id for p in parts]]))"
    )
    identity, *diff_ids = json.loads(in_images_folder(program))
    assert f"sha256:{identity}" == query_image
    assert diff_ids == engine.images.get(query_image).attrs["RootFS"]["Layers"]


def pins(name):
    """What the shared objects of an image must be, on this machine."""
    lines = [
        (file.stem, *line.split())
        for file in (IMAGES / name).glob("*.sha256")
        for line in file.read_text().splitlines()
    ]
    return {stem: digest for stem, digest, machine in lines if machine == platform.machine()}


def test_an_image_holds_its_runner_with_every_module_of_it_and_nothing_else(engine, query_image, python_image):
    for name, image, shared in (("query", query_image, {}), ("python", python_image, SHARED)):
        found = dict(reversed(line.split()) for line in output_of(engine, image, "sh", "-c", SUMS).splitlines())
        files = {f"/banyan/{path.name}": path.read_bytes() for path in (IMAGES / name).glob("*.py")} | shared
        expected = {place: hashlib.sha256(content).hexdigest() for place, content in files.items()}
        assert found == expected | {f"/banyan/{stem}.so": digest for stem, digest in pins(name).items()}


def test_what_a_program_shares_with_the_client_can_be_imported_there(engine, python_image):
    program = (
        "import sys; sys.path.insert(0, '/banyan/lib')\n"
        "import decimal, pyarrow as pa\n"
        "from banyan.frames import to_pandas, to_polars\n"
        "table = pa.table({'d': [decimal.Decimal('1.50')], 's': ['a']})\n"
        "print(to_pandas(table).values.tolist(), to_polars(table).rows())"
    )
    assert python(engine, python_image, program) == "[[1.5, 'a']] [(1.5, 'a')]\n"


def test_no_file_lends_its_owners_rights(engine, image):
    """Suid and sgid files would be useless under no-new-privileges; they must not be there even without it."""
    listing = output_of(engine, image, "find", "/", "-xdev", "-type", "f", "-perm", "/6000", sees_everything=True)
    assert listing == ""


def test_no_package_tests_and_no_installer_are_inside(engine, image):
    site = "/usr/local/lib/python3.11/dist-packages"
    assert output_of(engine, image, "find", site, "-type", "d", "(", "-name", "tests", "-o", "-name", "test", ")") == ""
    assert (
        python(engine, image, "import importlib.util as u; print(u.find_spec('pip'), u.find_spec('uv'))")
        == "None None\n"
    )
    assert output_of(engine, image, "sh", "-c", "command -v gcc make curl wget git || echo none") == "none\n"


def test_no_trace_of_the_building_machine_is_inside(engine, image):
    assert output_of(engine, image, "find", "/etc/apt", "-name", "*.list", "-o", "-name", "*.sources") == ""
    command = f"grep -rlF '{CHECKOUT}' /etc /usr/local/lib/python3.11 --include='*.py' --include='*.pyc' || true"
    assert output_of(engine, image, "sh", "-c", command, sees_everything=True) == ""


def test_a_program_starts_as_nobody(engine, image):
    assert python(engine, image, "import os; print(os.getuid(), os.getgid())") == "65534 65534\n"


def test_byte_code_is_used_and_never_checked(engine, image):
    program = "import pyarrow, pathlib; print(pathlib.Path(pyarrow.__cached__).read_bytes()[4:8].hex())"
    assert python(engine, image, program) == "01000000\n"


def test_the_query_image_reads_parquet_and_answers(engine, query_image):
    program = (
        "import pyarrow as pa, pyarrow.parquet as pq, duckdb\n"
        "pq.write_table(pa.table({'u': ['a', 'a', 'b'], 'x': [1, 2, 3]}), '/tmp/t.parquet')\n"
        "q = duckdb.sql(\"SELECT u, sum(x) AS s FROM '/tmp/t.parquet' GROUP BY u ORDER BY u\")\n"
        "print(q.to_arrow_reader(10).read_all().to_pylist())"
    )
    assert "'u': 'a', 's': Decimal('3')" in python(engine, query_image, program)


def test_the_python_image_holds_the_scientific_stack(engine, python_image):
    program = (
        "import " + ", ".join(SCIENCE) + "\n"
        "import numpy as np, pandas as pd, statsmodels.api as sm\n"
        "x = np.arange(20.0); y = 3 * x + 1\n"
        "print(round(sm.OLS(y, sm.add_constant(x)).fit().params[1], 6))\n"
        "print(round(sklearn.linear_model.LinearRegression().fit(x[:, None], y).coef_[0], 6))\n"
        "print(lifelines.KaplanMeierFitter().fit(x + 1, [1] * 20).median_survival_time_)\n"
        "print(polars.DataFrame({'a': [1, 2]})['a'].sum(), duckdb.sql('SELECT 1').fetchall(), scipy.stats.norm.ppf(0.5))"
    )
    assert python(engine, python_image, program).splitlines() == ["3.0", "3.0", "11.0", "3 [(1,)] 0.0"]


@pytest.fixture
def recipe_copy(tmp_path):
    folder = tmp_path / "runtime_images"
    shutil.copytree(IMAGES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "client" / "banyan").mkdir(parents=True)
    shutil.copy(CHECKOUT / "client" / "banyan" / "frames.py", tmp_path / "client" / "banyan")
    return folder


def recipes(folder):
    return json.loads(
        in_images_folder(
            "import build, json; print(json.dumps([build.recipe('query'), build.recipe('python')]))", folder
        )
    )


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("query/runner.py", (True, False)),
        ("query/requirements.lock", (True, False)),
        ("query/bounded.c", (True, False)),
        ("query/bounded.sha256", (True, False)),
        ("compiled.py", (True, False)),
        ("python/requirements.lock", (False, True)),
        ("python/runner.py", (False, True)),
        ("python/measures.py", (False, True)),
        ("../client/banyan/frames.py", (False, True)),
        ("python/build.lock", (False, True)),
        ("base.py", (True, True)),
        ("packages.py", (True, True)),
        ("bytecode.py", (True, True)),
        ("layers.py", (True, True)),
        ("build.py", (False, False)),
    ],
)
def test_a_changed_input_changes_the_recipe(recipe_copy, file, changed):
    before = recipes(recipe_copy)
    path = recipe_copy / file
    path.write_text(path.read_text() + ("pass\n" if path.suffix == ".py" else "another==1.0\n"))
    after = recipes(recipe_copy)
    assert tuple(old != new for old, new in zip(before, after, strict=True)) == changed


COMPILING = (
    "import compiled, pathlib, hashlib\n"
    "source = pathlib.Path('query/bounded.c').resolve()\n"
    "print([found and hashlib.sha256(found).hexdigest() for found in ({})])"
)


def test_this_machines_compiler_makes_what_is_pinned_wherever_it_runs(recipe_copy):
    if platform.machine() != "x86_64":
        pytest.skip("the pins are those of x86_64")
    pin = pins("query")["bounded"]
    for folder in (IMAGES, recipe_copy):
        assert in_images_folder(COMPILING.format("compiled.here(source), compiled.library(source)"), folder) == str(
            [pin, pin]
        )


@pytest.mark.slow
def test_a_machine_without_a_compiler_makes_the_same_file():
    """In a Debian tree of its own. The pass in the image is then what the tests of this machine have run."""
    program = "import shutil; shutil.which, old = (lambda name: None if name == 'gcc' else old(name)), shutil.which\n"
    assert in_images_folder(program + COMPILING.format("compiled.here(source), compiled.library(source)")) == str(
        [None, pins("query")["bounded"]]
    )


def test_a_source_that_is_not_what_was_pinned_is_refused(recipe_copy):
    path = recipe_copy / "query" / "bounded.c"
    path.write_text(path.read_text().replace("WAITING = 64", "WAITING = 65"))
    program = "import compiled, pathlib; compiled.in_debian = compiled.here; compiled.library(pathlib.Path('query/bounded.c').resolve())"
    with pytest.raises(subprocess.CalledProcessError) as problem:
        in_images_folder(program, recipe_copy)
    assert "commit the new pin" in problem.value.stderr


def test_the_compiled_pass_runs_in_the_query_image(engine, query_image):
    program = (
        "import sys; sys.path.insert(0, '/banyan')\n"
        "import aggregate, pathlib, pyarrow as pa\n"
        "plan = {'seed': '01' * 16, 'max_rows': 2, 'values': 0, 'keys': [], 'measures': [{'kind': 'rows'}],"
        " 'sets': [{'keys': [], 'max_groups': 1, 'most_groups': 1}]}\n"
        "with aggregate.Pass(aggregate.load(pathlib.Path('/banyan/bounded.so')), plan) as running:\n"
        "    running.block(2, None, [pa.record_batch({'u': pa.array([0, 0, 0, 1], pa.int32())})])\n"
        "    print(running.partial().hex())"
    )
    assert (
        python(engine, query_image, program)
        == "424e595002" + "01" + "01000000" + "0100" + "0000" + "0300000000000000" + "\n"
    )


def write_site(folder, names, mode, moment):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
        path.chmod(mode)
        os.utime(path, (moment, moment))


def test_a_layer_does_not_depend_on_order_clock_or_rights(tmp_path):
    names = ["a/x.txt", "a/b/y.txt", "z.txt"]
    write_site(tmp_path / "one", names, 0o644, 1_000_000_000)
    write_site(tmp_path / "two", reversed(names), 0o6604, 1_700_000_000)
    digests = set()
    for folder in ("one", "two"):
        tar = tmp_path / f"{folder}.tar"
        in_images_folder(
            f"import layers, pathlib as p; layers.write_folder(p.Path({str(tar)!r}), p.Path({str(tmp_path / folder)!r}), 'usr/site')"
        )
        digests.add(hashlib.sha256(tar.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_byte_code_does_not_depend_on_the_compiling_process(tmp_path):
    """The newest marshal format notes whether the one-letter string is interned, which another module decides."""
    (tmp_path / "m.py").write_text("def f(a):\n    return ', '.join(a) + '['\n")
    digests = set()
    for first in ("pass", "import sys; sys.intern('[')"):
        program = (
            f"{first}\nimport sys; sys.path.insert(0, {str(IMAGES)!r})\n"
            "import bytecode, pathlib; bytecode.compile_file(pathlib.Path('m.py'), '/m.py')"
        )
        in_images_folder(program, tmp_path)
        digests.add(hashlib.sha256(next(tmp_path.glob("__pycache__/*")).read_bytes()).hexdigest())
    assert len(digests) == 1
