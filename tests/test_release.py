"""What a release and a public forge read agrees with the package and with the Makefile."""

import re
from pathlib import Path

import pytest
import yaml

import coala_jax

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"(?m)^([a-z][\w-]*):", (ROOT / "Makefile").read_text()))
CI = (ROOT / ".ci" / "run").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# A tag can be moved to other code, a commit cannot.
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def targets_of(command: str) -> list[str]:
    """The targets of a command that is one of make."""
    assert command.startswith("make "), f"{command!r} is no make target"
    return command.split()[1:]


def test_the_version_is_that_of_the_citation_and_of_the_newest_notes():
    assert str(read(ROOT / "CITATION.cff")["version"]) == coala_jax.__version__
    newest = re.findall(r"(?m)^## (.*)$", (ROOT / "CHANGELOG.md").read_text())[0]
    assert newest.split()[0] == coala_jax.__version__


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_alone_and_their_actions_are_pinned(workflow):
    document, actions = read(workflow), []
    assert document["permissions"] == {"contents": "read"}
    for name, job in document["jobs"].items():
        assert job.get("permissions", {}) == ({"id-token": "write"} if name == "publish" else {})
        actions += [step["uses"] for step in job["steps"] if "uses" in step]
    assert actions and [action for action in actions if not PINNED.fullmatch(action)] == []


def test_the_workflow_makes_what_ci_makes_on_every_python():
    (job,) = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"].values()
    assert job["steps"][-1] == {"run": "make ${{ matrix.target }}"}
    entries = job["strategy"]["matrix"]["include"]
    targets = {target for entry in entries for target in entry["target"].split()}
    of_ci = re.findall(r"(?m)\bmake ([a-z][a-z -]*[a-z])", CI)
    assert targets == {target for command in of_ci for target in command.split()} <= TARGETS
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert [entry["python"] for entry in entries if entry["target"] == "test"] == classifiers


def test_what_is_published_is_what_a_tag_has_built():
    publish = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["publish"]
    assert publish["needs"] == "build" and publish["environment"] == "pypi"
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"


def test_hooks_before_a_commit_are_the_linters_of_ci():
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert [target for entry in entries for target in targets_of(entry)] == ["lint", "types"]
    assert "make lint types" in CI
