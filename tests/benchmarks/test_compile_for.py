"""Programs compiled for devices that are not there: what is read from their text, and kept."""

import importlib
import json

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from coala_jax import Config

# A loop of 25 with one inside, as XLA writes them: launches of every kind, collectives that are one
# instruction or two, and rows that are sliced from, put into and updated in place.
TEXT = """HloModule jit_run, is_scheduled=true, num_partitions=2

FileNames
1 "/package/solver.py"

FunctionNames
1 "step"
2 "solve.<locals>.inner"

FileLocations
1 {file_name_id=1 function_name_id=1 line=3 end_line=3 column=1 end_column=2}
2 {file_name_id=1 function_name_id=2 line=9 end_line=9 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=1}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%sliced (p0: bf16[100,8], p1: s32[]) -> bf16[1,8] {
  %p0 = bf16[100,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %part = bf16[1,8]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,8}
}

%put (q0: f32[100,8], q1: f32[1,8], q2: s32[]) -> f32[100,8] {
  %q0 = f32[100,8]{1,0} parameter(0)
  %q1 = f32[1,8]{1,0} parameter(1)
  %q2 = s32[] parameter(2)
  %nil = s32[] constant(0)
  ROOT %put_in = f32[100,8]{1,0} dynamic-update-slice(%q0, %q1, %q2, %nil)
}

%inner_body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %v = f32[4]{0:T(128)} get-tuple-element(%t), index=1
  %kept = f32[4]{0:T(128)} copy(%v)
  %all = f32[4]{0} all-reduce(%kept), replica_groups={{0,1}}, to_apply=%add
  ROOT %out = (s32[], f32[4]{0}) tuple(%i, %all)
}

%going (c: (s32[], f32[4])) -> pred[] {
  %c = (s32[], f32[4]{0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

%helper (h: f32[4]) -> f32[4] {
  %h = f32[4]{0} parameter(0)
  ROOT %twice = f32[4]{0} dot(%h, %h), lhs_contracting_dims={0}
}

%branch (r: f32[4]) -> f32[4] {
  %r = f32[4]{0} parameter(0)
  ROOT %slow = f32[4]{0} custom-call(%r), custom_call_target="solver"
}

%outer_body (u: (s32[], f32[4], bf16[100,8], f32[100,8])) -> (s32[], f32[4]) {
  %u = (s32[], f32[4]{0}, bf16[100,8]{1,0}, /*index=3*/f32[100,8]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%u), index=0
  %w = f32[4]{0} get-tuple-element(%u), index=1
  %x = bf16[100,8]{1,0} get-tuple-element(%u), index=2
  %y = f32[100,8]{1,0} get-tuple-element(%u), index=3
  %row = bf16[1,8]{1,0} fusion(%x, %n), kind=kLoop, calls=%sliced
  %wide = f32[1,8]{1,0} convert(%row)
  %new = f32[100,8]{1,0} fusion(%y, %wide, %n), kind=kLoop, calls=%put
  %begun = (f32[2]{0}, f32[4]{0}) all-gather-start(%w), dimensions={0}
  %met = f32[4]{0} all-gather-done(%begun)
  %doubled = f32[4]{0} call(%met), to_apply=%helper
  %state = (s32[], f32[4]{0}) tuple(%n, %doubled)
  %loop = (s32[], f32[4]{0}) while(%state), body=%inner_body, metadata={stack_frame_id=2}
  %case = f32[4]{0} conditional(%n, %w, %w), branch_computations={%branch, %branch}
  ROOT %end = (s32[], f32[4]{0}) tuple(%n, %case)
}

ENTRY %main (e: f32[4]) -> f32[4] {
  %e = f32[4]{0} parameter(0)
  %zeros = s32[] constant(0)
  %begin = (s32[], f32[4]{0}) tuple(%zeros, %e)
  %run = (s32[], f32[4]{0}) while(%begin), condition=%going, body=%outer_body, METADATA
  ROOT %done = f32[4]{0} get-tuple-element(%run), index=1
}
""".replace(
    "METADATA",
    'metadata={stack_frame_id=1}, backend_config={"known_trip_count":{"n":"25"}}',
)


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def module(name):
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("shape", "bytes_"),
    [
        ("f32[2,3]{1,0}", 24),
        ("(f32[2,3]{1,0}, pred[])", 25),
        ("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}", 2048),
        ("s4[3]", 2),
        ("f32[0,4]", 0),
        ("token[]", 0),
    ],
)
def test_bytes_of_shapes(shape, bytes_):
    assert module("hlo_text").shape_bytes(shape) == bytes_


def test_loops_with_their_function_trips_and_what_holds_them():
    outer, inner = sorted(
        module("hlo_text").loops_of(TEXT), key=lambda loop: loop.name, reverse=True
    )
    assert (outer.name, outer.function, outer.inside, outer.trips) == ("outer_body", "step", "", 25)
    assert (inner.name, inner.function) == ("inner_body", "solve.<locals>.inner")
    assert (inner.inside, inner.trips) == ("outer_body", None)


def test_launches_of_a_body_are_its_own_and_what_it_calls():
    outer, inner = sorted(
        module("hlo_text").loops_of(TEXT), key=lambda loop: loop.name, reverse=True
    )
    counts = {kind: count for kind, count in outer.launches.counts.items() if count}
    # Neither the branch of the conditional nor the loop inside counts.
    assert counts == {"fusion": 2, "dot": 1, "other": 1}
    assert outer.launches.total == 4
    assert inner.launches.counts["copy"] == inner.launches.total == 1
    # A row of 8 of the 100 is read, one put in its place, with the number of the row.
    sliced, widened, put, dot = 16 + 4 + 16, 16 + 32, 32 + 32 + 4 + 32, 3 * 16
    assert outer.launches.bytes == sliced + widened + put + dot
    assert inner.launches.bytes == 2 * 16


def test_collectives_count_once_with_the_bytes_that_come_of_them():
    hlo_text = module("hlo_text")
    outer, inner = sorted(hlo_text.loops_of(TEXT), key=lambda loop: loop.name, reverse=True)
    assert outer.exchanges == {"all-gather": hlo_text.Exchange(1, 16, 16)}
    assert inner.exchanges == {"all-reduce": hlo_text.Exchange(1, 16, 16)}
    assert hlo_text.all_exchanges(TEXT) == {**outer.exchanges, **inner.exchanges}


def test_a_program_that_this_jax_compiles_is_read():
    @jax.jit
    def run(x):
        return lax.fori_loop(0, 7, lambda _, x: jnp.tanh(x @ x), x)

    text = run.lower(jnp.ones((64, 64))).compile().as_text()
    (loop,) = module("hlo_text").loops_of(text)
    assert loop.trips in (7, None) and not loop.exchanges
    # The product reads two operands and writes one, 16 kB each; tanh follows in it or by itself.
    assert loop.launches.total >= 1 and loop.launches.bytes >= 3 * 4 * 64**2


def test_predicted_seconds_are_those_of_the_slower_of_memory_and_arithmetic():
    costs = module("step_costs")
    size, k = costs.Size(1000, 100, 4), 2
    flops = 2 * 2000 * 101 * 4 * (2 + 3 * k)
    assert costs.product_flops(size, k) == flops
    slow_memory = costs.Card("", 1.0, 1e30, 1e30)
    moved = costs.step_bytes(size, k, by_block=False)
    assert costs.least_seconds(slow_memory, size, k, by_block=False)["float32"] == moved
    found = costs.least_seconds(costs.Card("", 1e30, 1.0, 2.0), size, k, by_block=False)
    assert found == {"float32": flops, "compact": 3 * flops / 2}


def _row(**fields):
    loop = {
        **{"name": "body", "function": "advance", "inside": "", "trips": 25, "bytes": 2_000_000},
        "launches": {"fusion": 3, "custom-call": 0, "copy": 1, "dot": 0, "convolution": 0},
        "exchanges": {"all-reduce": {"count": 2, "bytes": 4000, "largest": 2000}},
    }
    loop["launches"] |= {"other": 0, "total": 4}
    return {
        **{"part": "decoding", "target": "h100", "rows": "default", "failure": None},
        **{"seconds": 5.0, "argument_bytes": 20e9, "output_bytes": 3e9, "temp_bytes": 2e9},
        **{"alias_bytes": 3e9, "exchanges": loop["exchanges"], "loops": [loop]},
        **fields,
    }


def test_tables_show_memory_against_the_bar_and_the_counts_of_before(tmp_path):
    compile_for = module("compile_for")
    earlier = _row()
    earlier["loops"][0]["launches"]["total"] = 9
    (tmp_path / "old.json").write_text(json.dumps({"rows": [earlier]}))
    options = ["--before", str(tmp_path / "old.json"), "--out", str(tmp_path)]
    recorder = compile_for.make_recorder(compile_for._arguments(options))
    failed = {"part": "phase I", "target": "v5e", "rows": "default", "failure": "no such compiler"}
    recorder.rows += [_row(), _row(temp_bytes=7e9), _row(temp_bytes=70e9), failed]
    lines = recorder.table().splitlines()
    # Results that are arguments too count once: 20 + 3 + 2 - 3.
    assert any("| 22 | 2 all-reduce (4 kB) | within 24 GB |" in line for line in lines)
    assert any("| 27 | 2 all-reduce (4 kB) | over 24 GB |" in line for line in lines)
    assert any("more than the device has" in line for line in lines)
    assert any("no such compiler" in line for line in lines)
    assert any(
        "| advance | - | 25 | 3 | 0 | 1 | 0 | 0 | 0 | 4 | 9 | 2.0 | 2.0 |" in x for x in lines
    )
    assert sum("H100 SXM" in line for line in lines) == 2


def test_what_cannot_be_compiled_stays_with_its_reason(tmp_path, monkeypatch, capsys):
    compile_for = module("compile_for")

    def absent(*_):
        raise RuntimeError("no plugin for cuda")

    monkeypatch.setattr(compile_for, "_in_a_process", absent)
    compile_for.main(["--targets", "h100", "v5e", "--p3", "9", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "compile-for.json").read_text())["rows"]
    assert [row["failure"] for row in rows] == ["RuntimeError: no plugin for cuda"] * 9
    assert "no plugin for cuda" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("program", ["phase I", "phase II", "extraction", "decoding"])
def test_programs_are_lowered_from_shapes_alone(program, monkeypatch):
    """For the devices here: with none of the compilers for others."""
    lowered_programs = module("lowered_programs")
    monkeypatch.setattr(lowered_programs, "SHAPES", module("gpu_extraction").SMALL)
    sizes = lowered_programs.Sizes(
        pairs=20,
        width=3,
        dtype="float32",
        config=Config(n_gates=2),
        model="llama-3.1-8b",
        batch=2,
        length=64,
        new_tokens=8,
        model_parallel=1,
    )
    target = lowered_programs.Target("cpu", tuple(jax.devices()[:1]))
    lowered = lowered_programs.PROGRAMS[program](target, sizes)
    assert "while" in lowered.as_text()
