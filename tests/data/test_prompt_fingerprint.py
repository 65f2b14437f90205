"""Fingerprints of prompts: what they know, what they tell, and what is none."""

import numpy as np
import pytest

from coala_jax.data import DataError, PromptFingerprint
from coala_jax.data._split import text_sha256

PROMPTS = [f"What is question {number}?" for number in range(200)]


def of(prompts):
    return PromptFingerprint.of_hashes(text_sha256(prompt) for prompt in prompts)


def test_it_knows_its_prompts_however_they_are_spaced_and_no_others():
    known = of(PROMPTS)
    assert len(known) == 200 and repr(known) == "PromptFingerprint(200 prompts)"
    assert all(prompt in known for prompt in PROMPTS)
    assert " what is  QUESTION 7?\n" in known
    assert not any(f"{prompt} Why?" in known for prompt in PROMPTS)


def test_its_text_is_read_back_and_does_not_depend_on_order_or_repetition():
    known = of(PROMPTS)
    shuffled = np.random.default_rng(0).permutation(PROMPTS * 2).tolist()
    assert of(shuffled).text == known.text
    assert PromptFingerprint.from_text(known.text) == known
    assert PromptFingerprint.from_text(of([]).text) == of([])
    assert "\n" not in known.text and "question" not in known.text


@pytest.mark.parametrize("text", ["not base64!", "\u00e9", "QUJD", 7, ["a"], None])
def test_what_is_no_fingerprint_is_refused(text):
    with pytest.raises(DataError, match="base64 of 8 bytes a prompt"):
        PromptFingerprint.from_text(text)


@pytest.mark.parametrize("name", ["p", "A" * 64, "0" * 63, ""])
def test_names_that_are_no_hashes_are_refused(name):
    with pytest.raises(DataError, match="64 hexadecimal digits"):
        PromptFingerprint.of_hashes([text_sha256("p"), name])
