"""What the packages promise: these names and no others, each with words of its own."""

import importlib
import inspect

import pytest

from tests.test_floors import PACKAGES

PROMISED = {
    "coala_jax": [
        "Certificate",
        "CertificateReport",
        "Choice",
        "CoalaError",
        "Config",
        "ConvexHead",
        "FittedText",
        "GatedHead",
        "GroupFeatures",
        "HeadError",
        "HeadFileError",
        "HeadMetadata",
        "History",
        "ImproveSettings",
        "Loss",
        "Params",
        "Phase1History",
        "Phase1Solution",
        "Phase1Stats",
        "Phase2History",
        "Phase2Solution",
        "Phase2Stats",
        "PreferenceFeatures",
        "RewardMetrics",
        "RewardModel",
        "Selection",
        "Solution",
        "SolveError",
        "Stats",
        "Status",
        "__version__",
        "accuracy",
        "certify",
        "cronos",
        "decompose_gated",
        "evaluate",
        "finetune",
        "fit_text",
        "improve",
        "load_head",
        "refine_gates",
        "regularization_path",
        "save_head",
        "select",
        "solve",
    ],
    "coala_jax.backbones": [
        "Backbone",
        "BackboneIdentity",
        "BackboneModule",
        "CheckpointError",
        "TokenBatch",
        "Tokenizer",
        "device_mesh",
        "load_backbone",
        "save_checkpoint",
    ],
    "coala_jax.cli": [],
    "coala_jax.convex": [
        "CertificateReport",
        "CronosProblem",
        "CronosResult",
        "CronosState",
        "Program",
        "certify",
        "cronos",
        "cronos_init",
        "cronos_problem",
        "cronos_solve",
        "cronos_step",
        "decompose_gated",
        "regularization_path",
    ],
    "coala_jax.improvement": [
        "ImproveError",
        "ImproveSettings",
        "Improvement",
        "Round",
        "improve",
    ],
    "coala_jax.losses": [
        "BRADLEY_TERRY",
        "GROUP_SQUARED",
        "HUBER",
        "LISTWISE",
        "LOGISTIC",
        "LOSSES",
        "Loss",
        "PLACKETT_LUCE",
        "SQUARED",
        "SQUARED_DIFFERENCE",
        "SQUARED_HINGE",
        "get_loss",
    ],
    "coala_jax.data": [
        "AlternatingOptions",
        "AlternatingPopulation",
        "ChatFormat",
        "Conversation",
        "ConversationSet",
        "DataError",
        "Message",
        "NamedRows",
        "PairMessages",
        "PreferenceRow",
        "PromptFingerprint",
        "ResponseRow",
        "ResponseStream",
        "RowOptions",
        "RowSet",
        "SetAsideRow",
        "Source",
        "SourceOptions",
        "Split",
        "alternating_population",
        "load_named",
        "open_source",
        "read_conversations",
        "read_groups",
        "read_rows",
        "require_no_leak",
        "split_by_group",
        "split_by_prompt",
        "split_named",
        "stream_responses",
        "write_groups",
        "write_rows",
        "write_set_aside",
    ],
    "coala_jax.decoding": [
        "Comparison",
        "Explained",
        "Explanation",
        "Generation",
        "GenerationConfig",
        "GenerationError",
        "Guidance",
        "GuidedStep",
        "Moved",
        "NeuronAccount",
        "PAPER",
        "RankedResponse",
        "Ranking",
        "Rewards",
        "Sampling",
        "TextRewardModel",
        "ValueHead",
        "best_of_n",
        "compare_plain_and_guided",
        "comparison_page",
        "explain",
        "export_stablehlo",
        "export_torch",
        "guided_generate",
        "load_stablehlo",
        "neuron_shares",
        "preference_probabilities",
        "rank",
        "rank_rewards",
        "reward_function",
        "score",
        "token_rewards",
    ],
    "coala_jax.evaluation": ["EvaluationError"],
    "coala_jax.features": [
        "ExtractSettings",
        "FeatureError",
        "FeatureIdentity",
        "FeatureStore",
        "FeatureTable",
        "GroupTable",
        "PairPrefixes",
        "Part",
        "ResponseFeatures",
        "TextTemplate",
        "checkpoint_chat",
        "extract_store",
        "features_of_responses",
        "from_dataset",
        "group_table",
        "join_parts",
        "load_features",
        "open_store",
        "prefix_pairs",
        "to_dataset",
        "write_npz",
    ],
    "coala_jax.preference": [
        "GroupProblem",
        "LogisticProblem",
        "NewtonResult",
        "accuracy",
        "balance_neurons",
        "evaluate",
        "finetune",
        "logistic_problem",
        "newton_optimum",
        "objective",
        "objective_change",
        "preference_loss",
        "preference_problem",
        "reward_metrics",
    ],
    "coala_jax.quickstart": ["TutoringSplit", "tutoring_rows"],
    "coala_jax.selection": [
        "Candidate",
        "Choice",
        "FEWEST",
        "GRID",
        "Grid",
        "SELECTED",
        "Selection",
        "choose_strengths",
        "select",
    ],
    "coala_jax.serving": [],
    "coala_jax.study": [],
}
# How a package tells names that it imports late.
LATE = {"TYPE_CHECKING", "lazy_names"}


def test_every_public_package_is_asked():
    public = [name for name in PACKAGES if "._" not in name]
    assert sorted(PROMISED) == sorted(public)


@pytest.mark.parametrize("name", PROMISED)
def test_a_package_promises_these_names_and_no_others(name):
    package = importlib.import_module(name)
    assert sorted(getattr(package, "__all__", [])) == PROMISED[name]
    found = {each: getattr(package, each) for each in dir(package) if each[0] != "_"}
    stray = {each for each, value in found.items() if not inspect.ismodule(value)}
    assert stray - LATE - set(PROMISED[name]) == set()


@pytest.mark.parametrize("name", PROMISED)
def test_what_is_promised_is_there_and_documented(name):
    package = importlib.import_module(name)
    values = {each: getattr(package, each) for each in PROMISED[name]}
    bare = [each for each, value in values.items() if callable(value) and not documented(value)]
    assert bare == []


def documented(value) -> bool:
    """A sentence, not the signature that NamedTuples and dataclasses are given."""
    text = value.__doc__ or ""
    return len(text.split()) > 2 and not text.startswith(f"{value.__name__}(")
