"""GRPO by TRL, with LoRA: training runs to a budget of generated tokens, as job files ask for.

    PYTHONPATH=. .venvs/bench-trl/bin/python benchmarks/contenders/trl_grpo.py JOB.json ...

A job is a JSON object with the fields of `Job`. Into its folder ``out`` go ``adapter``, as PEFT
writes it, and ``result.json``: seconds, the trainer's own log with the reward of every step, the
tokens that were generated, the shapes of all generations and micro-batches, what torch counts on
one step, the process's peak of memory so far, versions. Loss, advantages and sampling are TRL's
own, the reward is the one that is named; nothing here computes any.
"""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch_counter import torch_counter
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer
from trl_trainer import WRITING, is_bfloat16, lora_of, rows_of, trained, write_result

# The step whose operations torch counts: the first one sets things up.
COUNTED = 1
# More steps than any budget of tokens has: every step generates.
WITHOUT_END = 1_000_000


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        model: a checkpoint folder.
        train: JSON lines of rows with ``prompt`` and what the reward wants to be given.
        out: folder of what is made.
        reward: ``module:function``, called as TRL's ``reward_funcs`` are.
        tokens: that are generated before training ends, end tokens among them; the step that
            reaches them is the last.
        learning_rate: the same in all steps.
        beta: of the KL term; with 0 TRL makes no reference pass.
        samples: answers to a prompt in a step.
        max_new_tokens: the most of an answer.
        temperature: divides the logits.
        top_p: nucleus.
        top_k: the most tokens a pool holds.
        batch: answers of a micro-batch.
        accumulation: micro-batches of a step, whose answers are generated together; a multiple of
            ``samples``, with ``batch``.
        seed: of adapters, the order of rows and draws.
        lora: ``r``, ``lora_alpha``, ``lora_dropout`` and ``target_modules``, as PEFT has them.
        dtype: as in ``trl_trainer.py``.
    """

    model: str
    train: str
    out: str
    reward: str
    tokens: int
    learning_rate: float
    beta: float
    samples: int
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    batch: int
    accumulation: int
    seed: int
    lora: dict[str, Any]
    dtype: str | None = None


def main() -> None:
    """Train as the job files say, one after the other."""
    for path in sys.argv[1:]:
        run(Job(**json.loads(Path(path).read_text("utf-8"))))


def run(job: Job) -> None:
    """Train, and write what came of it."""
    out = Path(job.out)
    trainer, seen = make_trainer(job)
    result = trained(trainer, out)
    result |= {
        "tokens": seen.tokens,
        "prompt_tokens": seen.prompt_tokens,
        "generations": seen.generations,
        "micro_batches": seen.shapes,
        "counted": {"step": COUNTED, **seen.counted},
    }
    write_result(out, result)


class Seen:
    """What a trainer generated and trained on.

    Attributes:
        tokens: generated so far, end tokens among them, padding not.
        prompt_tokens: of the prompts that were answered, each as often as it was.
        generations: (rows, slots of the prompts, passes) of every generation: a pass over the
            prompts, the others over one slot a row, until the longest answer has ended.
        shapes: (rows, slots, real tokens, projected) of every micro-batch, as ``trl_trainer.py``
            has them.
        counted: operations of one step by torch, ``generation`` and all, ``flops``.
    """

    def __init__(self) -> None:
        self.tokens = self.prompt_tokens = 0
        self.generations: list[tuple[int, int, int]] = []
        self.shapes: list[tuple[int, int, int, int]] = []
        self.counted = {"generation": 0, "flops": 0}


class Budget(TrainerCallback):
    """Ends training with the step that reaches so many generated tokens."""

    def __init__(self, seen: Seen, tokens: int) -> None:
        self._seen, self._tokens = seen, tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say whether there is another one."""
        control.should_training_stop = self._seen.tokens >= self._tokens


def make_trainer(job: Job) -> tuple[Any, Seen]:
    """A trainer of the job, and what it will have seen."""
    seen = Seen()

    class Watched(GRPOTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *others: Any) -> Any:
            with self._counter() as counter:
                loss = super().training_step(model, inputs, *others)
            self._count("flops", counter)
            return loss

        def _generate_single_turn(self, prompt_ids: Any, *others: Any) -> Any:
            with self._counter() as counter:
                found = super()._generate_single_turn(prompt_ids, *others)
            self._count("generation", counter)
            lengths = [len(ids) for ids in found[0]]
            slots = max(map(len, prompt_ids))
            seen.generations.append((len(prompt_ids), slots, max(lengths)))
            seen.tokens += sum(lengths)
            seen.prompt_tokens += sum(map(len, prompt_ids))
            return found

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            seen.shapes.append(shape_of(inputs))
            return super()._compute_loss(model, inputs)

        def _counter(self) -> Any:
            return torch_counter() if self.state.global_step == COUNTED else nullcontext()

        def _count(self, part: str, counter: Any) -> None:
            if counter is not None:
                seen.counted[part] += int(counter.get_total_flops())

    set_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    dtype = torch.bfloat16 if is_bfloat16(job.dtype) else torch.float32
    module, name = job.reward.split(":")
    trainer = Watched(
        model=AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype),
        reward_funcs=getattr(importlib.import_module(module), name),
        args=_arguments(job),
        train_dataset=Dataset.from_list(rows_of(job.train)),
        processing_class=tokenizer,
        peft_config=lora_of(WRITING, job.lora),
        callbacks=[Budget(seen, job.tokens)],
    )
    return trainer, seen


def _arguments(job: Job) -> GRPOConfig:
    return GRPOConfig(
        output_dir=f"{job.out}/trainer",
        per_device_train_batch_size=job.batch,
        gradient_accumulation_steps=job.accumulation,
        max_steps=WITHOUT_END,
        learning_rate=job.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        beta=job.beta,
        num_generations=job.samples,
        max_completion_length=job.max_new_tokens,
        temperature=job.temperature,
        top_p=job.top_p,
        top_k=job.top_k,
        disable_dropout=True,  # so that what is trained is what answered
        seed=job.seed,
        bf16=is_bfloat16(job.dtype),
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def shape_of(inputs: dict[str, Any]) -> tuple[int, int, int, int]:
    """Rows, slots, real tokens and projected positions of a micro-batch."""
    prompts, answers = inputs["prompt_mask"], inputs["completion_mask"]
    rows, slots = len(prompts), prompts.shape[1] + answers.shape[1]
    projected = int(answers.sum()) if torch.cuda.is_available() else rows * (slots - 1)
    return rows, slots, int(prompts.sum() + answers.sum()), projected


if __name__ == "__main__":
    main()
