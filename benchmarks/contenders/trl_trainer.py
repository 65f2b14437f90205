"""SFT, DPO, ORPO and a reward model by TRL, with LoRA: training runs, as job files ask for.

    .venvs/bench-trl/bin/python benchmarks/contenders/trl_trainer.py JOB.json ...

A job is a JSON object with the fields of `Job`. Into its folder ``out`` go ``adapter``, as PEFT
writes it, and ``result.json``: seconds, the trainer's own log, the shapes of all micro-batches,
what torch counts on one of them, the process's peak of memory so far, versions, and of a reward
model the rewards of the judged rows. Losses, defaults and truncation are TRL's own; nothing here
computes any. Rows are texts, ``prompt``, ``chosen`` and ``rejected``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # ORPO's trainer lives there
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from peft import LoraConfig
from torch_counter import torch_counter
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    set_seed,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

TRAINERS = {
    "sft": (SFTTrainer, SFTConfig),
    "dpo": (DPOTrainer, DPOConfig),
    "orpo": (ORPOTrainer, ORPOConfig),
    "reward": (RewardTrainer, RewardConfig),
}
VERSIONS = ("trl", "peft", "transformers", "accelerate", "datasets", "torch")
# The micro-batch whose operations torch counts: the first ones set things up.
COUNTED = 1
JUDGED_TOGETHER = 8
# What PEFT calls reward models and causal ones.
SCORING, WRITING = "SEQ_CLS", "CAUSAL_LM"
# The label of positions outside the loss, as torch has it.
IGNORED = -100
KIB = 1024


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        method: a key of ``TRAINERS``.
        model: a checkpoint folder.
        train: JSON lines of preference rows to train on.
        judged: JSON lines of rows that a reward model gives rewards to.
        out: folder of what is made.
        learning_rate: the largest; it rises to it over ``warmup_steps`` and falls linearly.
        beta: of DPO and ORPO (its lambda).
        epochs: passes over the rows.
        batch: rows of a micro-batch.
        accumulation: micro-batches of a step.
        warmup_steps: of the learning rate; below 1 a share of all steps.
        max_length: tokens of a prompt with a response, beyond which TRL cuts or leaves out.
        seed: of adapters, dropout and the order of rows.
        lora: ``r``, ``lora_alpha``, ``lora_dropout`` and ``target_modules``, as PEFT has them.
        merge: write the model with its adapter as ``merged`` too, for others to start from.
        dtype: of the frozen weights and of products, ``float32`` or ``bfloat16``; None means
            bfloat16 on a GPU and float32 on a CPU. Adapters are float32.
    """

    method: str
    model: str
    train: str
    judged: str
    out: str
    learning_rate: float
    beta: float
    epochs: float
    batch: int
    accumulation: int
    warmup_steps: float
    max_length: int
    seed: int
    lora: dict[str, Any]
    merge: bool = False
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
    result |= {"micro_batches": seen.shapes, "counted": seen.counted}
    if job.method == "reward":
        result["rewards"] = _rewards(trainer, rows_of(job.judged))
    if job.merge:
        merged = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        merged.save_pretrained(out / "merged")
        trainer.processing_class.save_pretrained(out / "merged")
    write_result(out, result)


def trained(trainer: Any, out: Path) -> dict[str, Any]:
    """Train, save the adapter, and say what every trainer can."""
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    trainer.model.save_pretrained(out / "adapter")
    return {
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "log": trainer.state.log_history,
        "dtype": str(trainer.model.dtype).removeprefix("torch."),
        "trained_weights": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "peak_bytes": peak_bytes(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }


def write_result(out: Path, result: dict[str, Any]) -> None:
    """Write ``result.json`` whole, as the last of a run: where it is, the run has ended."""
    whole = out / "result.json.partial"
    whole.write_text(json.dumps(result, indent=1), "utf-8")
    whole.rename(out / "result.json")


class Seen:
    """What a trainer's micro-batches were.

    Attributes:
        shapes: (rows, slots, real tokens, projected) of every one; a row is a prompt with one
            response, and so many positions meet the output head.
        counted: index and operations of the one that torch counted, forward and backward, the
            reference's pass among them.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int, int, int]] = []
        self.counted: dict[str, int] = {}


def make_trainer(job: Job) -> tuple[Any, Seen]:
    """A trainer of the job, and what it will have seen."""
    base, config = TRAINERS[job.method]
    seen = Seen()

    class Watched(base):  # type: ignore[misc, valid-type]
        def training_step(self, model: Any, inputs: Any, *others: Any) -> Any:
            seen.shapes.append(shape_of(inputs))
            if len(seen.shapes) - 1 != COUNTED:
                return super().training_step(model, inputs, *others)
            with torch_counter() as counter:
                loss = super().training_step(model, inputs, *others)
            seen.counted = {"micro_batch": COUNTED, "flops": int(counter.get_total_flops())}
            return loss

    set_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if job.method == "orpo" and not _puts_start(tokenizer):
        tokenizer.bos_token = None  # ORPO's trainer alone would put it before every text
    trainer = Watched(
        model=_model(job, tokenizer.pad_token_id),
        args=_arguments(job, config),
        train_dataset=Dataset.from_list(_examples(job)),
        processing_class=tokenizer,
        peft_config=lora_of(SCORING if job.method == "reward" else WRITING, job.lora),
    )
    return trainer, seen


def _puts_start(tokenizer: Any) -> bool:
    """Whether a tokenizer itself begins a text with its start token."""
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


def _model(job: Job, pad_id: int) -> Any:
    dtype = torch.bfloat16 if is_bfloat16(job.dtype) else torch.float32
    if job.method == "reward":
        kind, options = AutoModelForSequenceClassification, {"num_labels": 1}
    else:
        kind, options = AutoModelForCausalLM, {}
    model = kind.from_pretrained(job.model, dtype=dtype, **options)
    model.config.pad_token_id = pad_id
    return model


def is_bfloat16(dtype: str | None) -> bool:
    """Whether weights and products are, by a job's ``dtype``."""
    return torch.cuda.is_available() if dtype is None else dtype == "bfloat16"


def _arguments(job: Job, config: Any) -> Any:
    on_gpu = torch.cuda.is_available()
    own = {"beta": job.beta} if job.method in ("dpo", "orpo") else {}
    return config(
        output_dir=f"{job.out}/trainer",
        per_device_train_batch_size=job.batch,
        gradient_accumulation_steps=job.accumulation,
        num_train_epochs=job.epochs,
        learning_rate=job.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=job.warmup_steps,
        weight_decay=0.01,
        max_grad_norm=1.0,
        max_length=job.max_length,
        seed=job.seed,
        bf16=is_bfloat16(job.dtype),
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **own,
    )


def lora_of(task: str, lora: dict[str, Any]) -> LoraConfig:
    """Adapters of a model, by a job's ``lora``; of one that scores, its output head is trained."""
    own = {"modules_to_save": ["score"]} if task == SCORING else {}
    return LoraConfig(task_type=task, bias="none", **own, **lora)


def rows_of(path: str) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines."""
    lines = Path(path).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _examples(job: Job) -> list[dict[str, str]]:
    """Rows as the trainers take them."""
    rows = rows_of(job.train)
    if job.method == "sft":
        return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    return [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]


def shape_of(inputs: dict[str, Any]) -> tuple[int, int, int, int]:
    """Rows, slots, real tokens and projected positions of a pass over a micro-batch."""
    if "input_ids" in inputs:
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        real = int(ids.numel() if mask is None else mask.sum())
        return (*ids.shape, real, _projected(inputs))
    # ORPO's has the two responses apart, and runs them together, padded to the longer.
    sides = [inputs[f"{side}_input_ids"] for side in ("chosen", "rejected")]
    real = sum(int(inputs[f"{side}_attention_mask"].sum()) for side in ("chosen", "rejected"))
    rows, slots = sum(map(len, sides)), max(side.shape[1] for side in sides)
    return rows, slots, real, rows * slots


def _projected(inputs: dict[str, Any]) -> int:
    """Positions that meet the output head: of responses alone on a GPU, where Triton runs."""
    if "completion_mask" in inputs:  # DPO's
        in_loss = inputs["completion_mask"][:, 1:] == 1
    elif "labels" in inputs:  # SFT's
        in_loss = inputs["labels"][:, 1:] != IGNORED
    else:  # a reward model scores all slots, and reads the last
        return int(inputs["input_ids"].numel())
    return int(in_loss.sum() if torch.cuda.is_available() else in_loss.numel())


def peak_bytes() -> dict[str, int]:
    """The most memory so far: of the process, and of the GPU where there is one."""
    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB}
    if torch.cuda.is_available():
        peaks["gpu_allocated"] = torch.cuda.max_memory_allocated()
        peaks["gpu_reserved"] = torch.cuda.max_memory_reserved()
    return peaks


@torch.inference_mode()
def _rewards(trainer: Any, rows: list[dict[str, str]]) -> list[list[float]]:
    """Of every row the rewards of the chosen and the rejected response."""
    tokenizer, model = trainer.processing_class, trainer.model.eval()
    texts = [
        row["prompt"] + row[side] + tokenizer.eos_token
        for row in rows
        for side in ("chosen", "rejected")
    ]
    found: list[float] = []
    for start in range(0, len(texts), JUDGED_TOGETHER):
        part = texts[start : start + JUDGED_TOGETHER]
        most = trainer.args.max_length
        batch = tokenizer(part, return_tensors="pt", padding=True, truncation=True, max_length=most)
        found += model(**batch.to(model.device)).logits[:, 0].float().tolist()
    return [found[place : place + 2] for place in range(0, len(found), 2)]


if __name__ == "__main__":
    main()
