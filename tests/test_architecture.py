"""The plan, held against the code: who may import whom, what start-up may cost, how long a file may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fakecore", "fakegen", "fakedetect", "benchmarks")
ALLOWED = {
    "fakecore": {"fakecore"},
    "fakegen": {"fakecore", "fakegen"},
    "fakedetect": {"fakecore", "fakedetect"},
    "benchmarks": {"fakecore", "fakegen", "fakedetect", "benchmarks"},
}
FACE = sorted(ROOT.glob("cli*.py"))
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere in it, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    ours = imported(path) & {*PACKAGES, *(face.stem for face in FACE)}
    assert ours <= ALLOWED[package], f"{path.name} imports {ours - ALLOWED[package]}"


def test_the_import_rule_notices_an_import(tmp_path):
    (tmp_path / "x.py").write_text("def f():\n    from fakegen.presets import PRESETS\n    import cli, os.path\n")
    assert imported(tmp_path / "x.py") == {"fakegen", "cli", "os"}


@pytest.mark.parametrize("path", [*FILES, *FACE], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 420


@pytest.mark.parametrize("path", [*FILES, *FACE], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    text = path.read_text()
    assert "pickle" not in imported(path)
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


def test_help_answers_without_importing_what_is_heavy():
    code = (
        "import sys, cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'matplotlib', 'sklearn', 'lightning'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "detect-train" in done.stdout


@pytest.mark.parametrize("package", ["fakecore", "fakegen", "fakedetect"])
def test_the_public_names_exist(package):
    module = __import__(package)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_public_function_says_what_it_does():
    missing = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if public and node.name not in ("main",) and not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    # One-line predicates and builders whose name is their description.
    assert len(missing) <= 3, missing
