"""Double-blind studies: a page that asks people, and the analysis of what they answer.

Example:
    >>> from pathlib import Path
    >>> from coala_jax.evaluation import blind
    >>> from coala_jax.evaluation._benchmark_rows import Answer, Answers
    >>> prompts = {f"q{n}": f"What is {n} + 1?" for n in range(4)}
    >>> def answers(name: str, text: str) -> Answers:
    ...     rows = {key: Answer(key, (f"{key}: {text}",), name, "here") for key in prompts}
    ...     return Answers(name, rows, "in memory")
    >>> both = [answers("head", "I add one."), answers("plain", "No idea.")]
    >>> design = blind.Design(places=2, items=4, repeats=0, checks=1)
    >>> check = blind.Check("Which is a colour?", "Red is one.", "Seven is one.")
    >>> study = blind.make_study(prompts, both, design, secret=bytes(32), checks=[check])
    >>> plan = blind.plan_study(study, both, design, blind.Exclusions(), level=0.95)
    >>> files = blind.write_study(Path("study"), study, plan)
    >>> files.page.name, plan.comparisons
    ('page.html', (('head', 'plain'),))
    >>> found = blind.analyse(  # doctest: +SKIP
    ...     [Path("received")], files.plan, files.key, committed=print)
"""

from coala_jax.evaluation.blind._analyse import Analysis, analyse
from coala_jax.evaluation.blind._checks import Check
from coala_jax.evaluation.blind._design import Design
from coala_jax.evaluation.blind._make import plan_study, write_study
from coala_jax.evaluation.blind._plan import Exclusions, Plan
from coala_jax.evaluation.blind._study import Study, make_study
from coala_jax.evaluation.blind._wording import Wording

__all__ = [
    "Analysis",
    "Check",
    "Design",
    "Exclusions",
    "Plan",
    "Study",
    "Wording",
    "analyse",
    "make_study",
    "plan_study",
    "write_study",
]
