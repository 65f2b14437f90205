"""A small benchmark in Arena-Hard's formats, and a judge that knows who is better."""

import json

from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.arena_hard import answer_rows, read_questions

CATEGORIES = {"hard_prompt": "o3-mini-2025-01-31", "creative_writing": "gemini-2.0-flash-001"}


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def make_benchmark(folder, count=6):
    """Questions of two categories, half each; answers of their baselines and of ``mine``."""
    rows = [
        {
            "uid": f"q{number}",
            "category": list(CATEGORIES)[number % 2],
            "subcategory": "any",
            "prompt": f"Question {number}?",
        }
        for number in range(count)
    ]
    write_rows(folder / "question.jsonl", rows)
    questions = read_questions(folder / "question.jsonl")
    for model in (*CATEGORIES.values(), "mine"):
        texts = [f"{model} says **{question.uid}**." for question in questions]
        answers = answer_rows(questions, texts, model)
        write_rows(folder / "model_answer" / f"{model}.jsonl", answers)
    return questions


def judge_for(winner):
    """Says with [[A>B]] or [[B>A]] that whoever's text has this word is better."""

    def ask(requests):
        replies = []
        for request in requests:
            shown = request.messages[-1][1]
            first = shown.find(f"{winner} says") < shown.find("[Answer of assistant B]")
            replies.append(Reply(f"My verdict: [[{'A>B' if first else 'B>A'}]]"))
        return replies

    return ask


def judgment(
    uid, labels, *, model="m", category="hard_prompt", judge="j", baseline=None, prompt=""
):
    """A row of v2.0."""
    games = [
        None
        if label is None
        else {
            "score": label,
            "judgment": {"answer": ""},
            "prompt": [{"role": "user", "content": prompt}],
        }
        for label in labels
    ]
    return {
        "uid": uid,
        "category": category,
        "judge": judge,
        "model": model,
        "baseline": baseline or CATEGORIES.get(category, "gpt-4-0314"),
        "games": games,
    }
