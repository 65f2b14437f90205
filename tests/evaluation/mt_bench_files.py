"""Small files in FastChat's layout, with invented questions."""

import json
from pathlib import Path

from coala_jax.evaluation._chat import Reply

CATEGORIES = ("writing", "math", "stem", "coding")
# The places that FastChat's prompts have.
PLACES = {
    "single-v1": "{question}|{answer}",
    "single-math-v1": "{question}|{ref_answer_1}|{answer}",
    "single-v1-multi-turn": "{question_1}|{answer_1}|{question_2}|{answer_2}",
    "single-math-v1-multi-turn": "{question_1}|{ref_answer_1}|{question_2}|{ref_answer_2}|"
    "{answer_1}|{answer_2}",
    "pair-v2": "{question}|{answer_a}|{answer_b}",
    "pair-math-v1": "{question}|{ref_answer_1}|{answer_a}|{answer_b}",
    "pair-v2-multi-turn": "{question_1}|{question_2}|{answer_a_1}|{answer_b_1}|{answer_a_2}|"
    "{answer_b_2}",
    "pair-math-v1-multi-turn": "{question_1}|{ref_answer_1}|{question_2}|{ref_answer_2}|"
    "{answer_a_1}|{answer_a_2}|{answer_b_1}|{answer_b_2}",
}


def write_lines(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def question_rows(count=4):
    return [
        {
            "question_id": 81 + n,
            "category": CATEGORIES[n % len(CATEGORIES)],
            "turns": [f"Why is {n}?", f"And {n} more?"],
        }
        for n in range(count)
    ]


def answer_rows(model, count=4):
    return [
        {
            "question_id": 81 + n,
            "answer_id": f"{model}{n}",
            "model_id": model,
            "choices": [{"index": 0, "turns": [f"{model} says {n}", f"{model} adds {n}"]}],
            "tstamp": 1687222222.5,
        }
        for n in range(count)
    ]


def reference_rows(count=4):
    return [
        {**row, "model_id": "gpt-4"}
        for row, question in zip(answer_rows("truth", count), question_rows(count), strict=True)
        if question["category"] in ("math", "coding", "reasoning")
    ]


def prompt_rows():
    return [
        {
            "name": name,
            "type": "single" if name.startswith("single") else "pairwise",
            "system_prompt": f"Judge by {name}.",
            "prompt_template": f"{{{{{name}}}}} {places}",
            "description": "",
            "category": "general",
            "output_format": "[[rating]]" if name.startswith("single") else "[[A]]",
        }
        for name, places in PLACES.items()
    ]


def write_benchmark(folder: Path, count=4) -> Path:
    write_lines(folder / "question.jsonl", question_rows(count))
    write_lines(folder / "reference.jsonl", reference_rows(count))
    write_lines(folder / "judge_prompts.jsonl", prompt_rows())
    for model in ("ours", "base"):
        write_lines(folder / f"{model}.jsonl", answer_rows(model, count))
    return folder


def single_row(question, turn, model, score, judge=("gpt-4", "single-v1")):
    return {
        "question_id": question,
        "model": model,
        "judge": list(judge),
        "user_prompt": "",
        "judgment": f"[[{score}]]",
        "score": score,
        "turn": turn,
        "tstamp": 1.0,
    }


def pair_row(question, turn, models, first, second, judge=("gpt-4", "pair-v2")):
    return {
        "question_id": question,
        "model_1": models[0],
        "model_2": models[1],
        "g1_winner": first,
        "g2_winner": second,
        "judge": list(judge),
        "g1_user_prompt": "",
        "g1_judgment": "",
        "g2_user_prompt": "",
        "g2_judgment": "",
        "turn": turn,
        "tstamp": 1.0,
    }


def replying(text):
    """A judge that says something of each request."""
    return lambda requests: [Reply(text(request)) for request in requests]
