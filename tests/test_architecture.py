"""The structure of the code, held against the plan: who may import whom, what start-up costs, how long a file may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fakecore", "fakegen", "fakedetect", "fakelab", "benchmarks")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Packages, lowest first; those on one line do not import each other.
PACKAGE_ORDER = (("fakecore",), ("fakegen", "fakedetect"), ("fakelab",), ("benchmarks",))
# What each package holds, lowest first: sub-packages, or files that stand in the package itself ("" is all others).
ORDER = {
    "fakecore": (("",), ("report", "media"), ("runs",), ("sets",), ("commands",)),
    "fakegen": (
        ("presets",),
        ("architectures",),
        ("runs",),
        ("sampling",),
        ("quality", "publishing"),
        ("training",),
        ("sweeps", "watching"),
        ("",),
        ("commands",),
    ),
    "fakedetect": (
        ("data", "detectors"),
        ("models", "faces"),
        ("explain", "audits", "blends"),
        ("evaluation", "inspection"),
        ("training", "scoring", "published"),
        ("engine",),
        ("export", "attributes", "adoption", "web", "engine"),
        ("",),
        ("commands",),
    ),
    "fakelab": (
        ("reals",),
        ("discriminators",),
        ("race", "recipes", "quiz"),
        ("detectors",),
        ("demo",),
        ("",),
        ("commands",),
        ("app",),
        ("__main__",),
    ),
    "benchmarks": (("",), ("speed", "videos", "fuzz", "serve", "scale"), ("gpu",)),
}


def module_of(path: Path, root: Path = ROOT) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of ours that a file imports when it runs, inside functions too."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in (node for node in ast.walk(tree) if id(node) not in for_types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return {name for name in found if name.partition(".")[0] in PACKAGES}


def rank(module: str) -> tuple[int, int]:
    """The place of a module: (that of its package, that of its part of the package), lowest first."""
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    order = ORDER[package]
    names = {name for line in order for name in line}
    part = part if part in names else ""
    return (
        next(i for i, line in enumerate(PACKAGE_ORDER) if package in line),
        next(i for i, line in enumerate(order) if part in line),
    )


def part_of(module: str) -> tuple[str, str]:
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    return package, part if any(part in line for line in ORDER[package]) else ""


def wrong(module: str, imported: str) -> bool:
    """Whether an import goes against the order."""
    if part_of(module) == part_of(imported):
        return False
    (above, part), (below, other) = rank(module), rank(imported)
    if module.partition(".")[0] != imported.partition(".")[0]:
        return above <= below
    return part <= other


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Files that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, todo = set(), list(graph[start])
        while todo:
            if (one := todo.pop()) not in seen:
                seen.add(one)
                todo += graph.get(one, ())
        reached[start] = seen
    return sorted(
        [one for one in reached[start] if start in reached[one]] for start in graph if start in reached[start]
    )


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    modules = {module_of(path): path for path in FILES}
    return {module: imports(path, set(modules)) - {module} for module, path in modules.items()}


def test_imports_go_one_way(graph):
    against = [f"{module} imports {one}" for module, found in graph.items() for one in found if wrong(module, one)]
    assert against == []


def test_no_files_import_each_other_in_a_circle(graph):
    assert circles(graph) == []


def test_the_rules_notice_wrong_imports(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from fakegen.presets.table import PRESETS\n    import os.path\n")
    assert imports(path, {"fakegen.presets.table"}) == {"fakegen.presets.table"}
    assert wrong("fakecore.files", "fakegen.runs.run")
    assert wrong("fakegen.runs.run", "fakedetect.models.detector")
    assert wrong("fakedetect.models.detector", "fakedetect.training.loop")
    assert wrong("fakedetect.models.detector", "fakedetect.faces.finder")
    assert not wrong("fakedetect.training.loop", "fakedetect.models.detector")
    assert sorted(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})[0]) == ["a", "b", "c"]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_every_part_of_a_package_has_a_place_in_the_order():
    folders = {
        (p.parent.parent.name, p.parent.name) for package in PACKAGES for p in (ROOT / package).glob("*/__init__.py")
    }
    placed = {(package, part) for package, order in ORDER.items() for line in order for part in line}
    assert folders <= placed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable_and_unpickle_nothing(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 420
    assert "import pickle" not in text
    for call in ("joblib.load(", "allow_pickle=True", "load_state_dict_from_url("):
        assert call not in text
    assert unsafe_loads(text) == []


def unsafe_loads(text: str) -> list[int]:
    """Lines with a torch.load that could unpickle: without weights_only=True it builds whatever a file asks for."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "torch.load"
        and not any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
    ]


def test_the_unpickling_rule_notices_a_load():
    assert unsafe_loads("torch.load(f)\ntorch.load(f, weights_only=x)\ntorch.load(f, weights_only=True)") == [1, 2]


HEAVY = {"torch", "numpy", "cv2", "PIL", "matplotlib", "sklearn", "scipy", "pandas", "av", "rich", "pyarrow", "duckdb"}


@pytest.mark.parametrize(
    "code",
    [
        "import fakegen, fakedetect, fakelab",
        "from fakelab import app\ntry: app.main(['--help'])\nexcept SystemExit: pass",
        "from fakelab import app\ntry: app.main(['score', '--help'])\nexcept SystemExit: pass",
        "from fakelab import app\ntry: app.main(['report', '--help'])\nexcept SystemExit: pass",
    ],
    ids=["import", "--help", "score --help", "report --help"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    check = f"\nimport sys\nfound = {HEAVY} & set(sys.modules)\nsys.exit(f'imported: {{found}}' if found else 0)"
    done = subprocess.run([sys.executable, "-c", code + check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["fakecore", "fakegen", "fakedetect", "fakelab"])
def test_the_public_names_exist(package):
    module = __import__(package)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert not hasattr(getattr(module, name), "__path__"), f"{name} is hidden by a sub-package of its name"


def test_every_public_function_says_what_it_does():
    missing = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if public and node.name not in ("main",) and not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    # One-line predicates and builders whose name is their description.
    assert len(missing) <= 3, missing
