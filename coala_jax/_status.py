"""How a solve ends: `Status`, and the error that one turns into."""

import enum

from coala_jax._errors import CoalaError


class Status(enum.IntEnum):
    """How a solve ended. An int32 array under transforms: `Status(int(array))` prints the name."""

    SOLVED = 0
    ITERATION_LIMIT = 1
    EPOCH_LIMIT = 2
    ZERO_NETWORK = 3
    INVALID_PARAMETER = 4
    NOT_FINITE_INPUT = 5
    BREAKDOWN = 6
    SOLVED_INACCURATE = 7
    SOLVED_WITHOUT_GAP = 8
    NOTHING_TO_EXPLAIN = 9
    HEAD_DIFFERS = 10
    ROUNDING_LIMIT = 11

    @property
    def text(self) -> str:
        """What happened and what to change, for people."""
        return _STATUS_TEXT[self]

    @property
    def ok(self) -> bool:
        """Whether `raise_for_status` lets it pass: solved, or solved where no gap exists."""
        return self in SUCCESSES

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        try:
            return format(self.name, spec)
        except ValueError:  # the spec of a number
            return format(int(self), spec)


SUCCESSES = (Status.SOLVED, Status.SOLVED_WITHOUT_GAP)

_STATUS_TEXT = {
    Status.SOLVED: "solved: certified gap, cone violation, residuals and explained share are all "
    "within their tolerances, and Phase II, where it ran, is proven to be above its optimum by at "
    "most Params.excess_tolerance of its loss at zero weights",
    Status.ITERATION_LIMIT: "Phase I reached Config.max_iterations before its tolerances were met: "
    "raise the cap, move Params.rho (lower when the gap lags, higher when the cone violation "
    "lags), or loosen the tolerance that Stats shows unmet",
    Status.EPOCH_LIMIT: "Phase II reached Config.max_epochs with its excess above "
    "Params.excess_tolerance: raise the cap, Params.ridge or Params.learning_rate, leave "
    "Params.weight_decay at 0 and Config.batch_size at None, or loosen the tolerance",
    Status.ZERO_NETWORK: "no network was sought: Params.group_lasso is at or above lambda_max, "
    "where the optimal one is zero, lower it; or chosen and rejected have the same features up to "
    "the rounding of sums over the rows (enable x64 where their differences are more than noise)",
    Status.INVALID_PARAMETER: "a leaf of Params is out of its range: rho, beta, ridge and "
    "learning_rate must be > 0, group_lasso, weight_decay, temperature and the tolerances >= 0, "
    "and all finite",
    Status.NOT_FINITE_INPUT: "the features, scores, weights, margins, gates or head hold "
    "NaN or infinity, or weights are negative or all zero, as those of groups that have no two "
    "different scores are: clean the input",
    Status.BREAKDOWN: "the iteration produced NaN or infinity from finite input: lower Params.rho "
    "or Params.learning_rate, or enable x64",
    Status.SOLVED_INACCURATE: "solved to tolerances three times as large: Phase I reached "
    "Config.max_iterations short of those of Params; raise the cap, or accept what Stats shows",
    Status.NOTHING_TO_EXPLAIN: "no network of these gates improves on the zero network by more "
    "than the rounding of the objective, so that a share of it would be noise: the pairs are equal "
    "up to noise or contradict each other, or Params.group_lasso is above lambda_max or next to "
    "it; enable x64 if the improvement is wanted all the same",
    Status.SOLVED_WITHOUT_GAP: "solved as far as residuals and cone violation tell: with "
    "Params.group_lasso = 0 the dual bound is trivial and certifies no gap",
    Status.HEAD_DIFFERS: "Phase I met its tolerances, but on the features it was solved from "
    "the head does not surely give the outputs that were certified: rounding opens or closes gates "
    "on rows next to them, or weights are out of the range of the dtype; use other gates (another "
    "key, or none of your own), rescale features whose spread is below 1e-30 or above 1e30, or "
    "enable x64",
    Status.ROUNDING_LIMIT: "Phase II's gradient is down to its rounding, which proves no excess "
    "within Params.excess_tolerance: enable x64, raise Params.ridge, or loosen the tolerance to "
    "what Stats shows",
}


class SolveError(CoalaError, RuntimeError):
    """A solve did not end in a success (`Solution.raise_for_status`), or has no gradient."""
