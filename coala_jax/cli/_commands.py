"""The commands, and what each is for in its help; the module of each is imported when asked for."""

DATA = "get preference pairs, make them from conversations, look at them before training"
EVALUATE = "judge answers and heads as the field does, and ask people"
COMMANDS = {
    "quickstart": "preference pairs to an aligned, certified head, with all that is in the package",
    "extract": "run preference rows through a frozen backbone and keep their features",
    "join": "join the parts that `extract --process-id I --processes N` made to one feature store",
    "solve": "both phases of COALA on frozen features, with a certificate and held-out metrics",
    "report": "the page of a head, which says what it is worth, made again from its folder",
    "score": "rewards of responses or of both sides of preference rows",
    "rank": "order the responses of each prompt, with the Bradley-Terry probability of each pair",
    "explain": "each neuron's share in the reward of a response, and the responses that move it "
    "most",
    "generate": "answer prompts plainly and under the guidance of a head: one, a file, or a "
    "session",
    "best-of-n": "sample n responses a prompt and keep the best",
    "improve": "learn a head from rewards that a function gives, in rounds of sampling and solving",
    "serve": "serve guided completions and rewards to OpenAI clients, on this machine alone by "
    "default",
    "export": "features to an .npz, or to Arrow for Hugging Face datasets",
    "export-head": "a head as a torch module or as a StableHLO function",
    "push": "a head with its model card to a repository of the Hugging Face hub",
    "backbones": "the supported families, or whether a checkpoint is supported, before its "
    "weights are read",
}
DATA_COMMANDS = {
    "get": "make a data set of the COALA paper: train, eval, counts",
    "alternate": "make preference pairs from conversations (the Alternating Population Strategy): "
    "of every user turn the immediate answer is chosen, the next later one rejected",
    "inspect": "look at preference pairs before training: lengths, repeats, leaks, and what rules "
    "that understand nothing reach",
}
EVALUATE_COMMANDS = {
    "answer": "answer a benchmark's questions in its own format: plainly, guided by a head, or "
    "best of n",
    "judge": "have a language model compare two systems' answers, each pair in both orders",
    "grade": "have a language model grade a system's answers from 1 to 10",
    "reward-bench": "RewardBench 1 and 2: how often a head, or rewards of others, prefer the right "
    "answer",
}
# By group of commands, what it is for and its commands.
EVALUATE_GROUPS = {
    "alpaca-eval": (
        "AlpacaEval 2: answers against a baseline's, plain and length-controlled win rates",
        {
            "judge": "a judge's preferences between answers and a baseline's",
            "score": "win rates of such preferences, ours or others', with intervals",
        },
    ),
    "arena-hard": (
        "Arena-Hard v0.1 and v2.0: answers against a baseline's, with style held fixed or not",
        {
            "judge": "ask a judge which of two answers is better, in both orders",
            "score": "win rates of judgments, ours or others', with intervals by question",
        },
    ),
    "mt-bench": (
        "MT-Bench: conversations of two turns, graded or compared",
        {
            "judge": "have a judge grade answers, or compare them with a baseline's in both orders",
            "score": "mean grades or win rates of judgments, ours or others', with intervals by "
            "question",
        },
    ),
    "blind": (
        "ask people which of two answers is better, without anyone knowing whose they are",
        {
            "make": "a page for people, the plan of the analysis and the key, from systems' "
            "answers",
            "serve": "give the page to people and keep their answers, on this machine alone by "
            "default",
            "analyse": "win rates, strengths and agreement, by the plan; the key is opened last",
            "size": "how many people a difference needs",
        },
    ),
}
