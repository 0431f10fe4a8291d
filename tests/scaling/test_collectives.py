"""Collectives read from programs: by hand, and of programs compiled here."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import pytest

from llm_jax.config import MeshConfig
from llm_jax.scaling.collectives import read_collectives, totals
from llm_jax.sharding import make_mesh

# ruff: noqa: E501
# As XLA:TPU writes it: a loop of 32 turns with an asynchronous gather over
# groups of four, and a reduction of bfloat16 over all after it.
PROGRAM = """HloModule jit_step, num_partitions=8

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

%body (carry: (s32[], f32[16,128])) -> (s32[], f32[16,128]) {
  %carry = (s32[], f32[16,128]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %w = f32[16,128]{1,0} get-tuple-element(%carry), index=1
  %kernel = f32[16,128]{1,0} custom-call(%w), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"note":"of several lines"
}}, metadata={op_name="attention"}
  %gather = (f32[16,128]{1,0}, f32[64,128]{1,0}) all-gather-start(%kernel), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}, use_global_device_ids=true, metadata={op_name="layers/mlp"}
  %whole = f32[64,128]{1,0} all-gather-done(%gather)
  ROOT %next = (s32[], f32[16,128]{1,0}) tuple(%i, %w)
}

%condition (c: (s32[], f32[16,128])) -> pred[] {
  %c = (s32[], f32[16,128]{1,0}) parameter(0)
  ROOT %more = pred[] constant(true)
}

ENTRY %main (x: f32[16,128]) -> bf16[256] {
  %x = f32[16,128]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[16,128]{1,0}) tuple(%zero, %x)
  %loop = (s32[], f32[16,128]{1,0}) while(%start), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"32"}}
  %y = bf16[256]{0} constant({...})
  %pass = bf16[256]{0} collective-permute(%y), channel_id=3, source_target_pairs={{0,1},{1,0}}
  ROOT %reduce = bf16[256]{0} all-reduce(%pass), channel_id=2, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
}
"""


def test_a_program_counted_by_hand():
  found, unknown = read_collectives(PROGRAM, 8)
  assert not unknown
  by_kind = {one.kind: one for one in found}
  assert len(found) == len(by_kind) == 3
  gather = by_kind["all-gather"]
  assert (gather.runs, gather.array_bytes) == (32, 64 * 128 * 4)
  assert gather.wire_bytes == 3 / 4 * 64 * 128 * 4
  assert gather.group == (0, 1, 2, 3) and gather.source == "layers/mlp"
  reduce = by_kind["all-reduce"]
  assert (reduce.runs, reduce.array_bytes) == (1, 512)
  assert reduce.wire_bytes == 2 * 7 / 8 * 512
  assert by_kind["collective-permute"].wire_bytes == 512
  assert totals(found)["all-gather"] == {
      "instructions": 1, "runs": 32, "array_bytes": 32 * 64 * 128 * 4,
      "wire_bytes": 32 * 48 * 128 * 4}


def compiled_text(step, shape, spec_in, spec_out, mesh):
  place = functools.partial(NamedSharding, mesh)
  x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place(spec_in))
  return jax.jit(step, out_shardings=place(spec_out)).lower(
      x).compile().as_text()


@pytest.mark.parametrize("split, whole, kind", [
    (PartitionSpec("fsdp"), PartitionSpec(), "all-gather"),
    (PartitionSpec("fsdp"), PartitionSpec(None, "fsdp"), "all-to-all")])
def test_what_xla_really_inserts(split, whole, kind):
  """A resharding of a known array: the bytes are the array's."""
  mesh = make_mesh(MeshConfig(data=2, fsdp=4))
  found, _ = read_collectives(
      compiled_text(lambda x: 2 * x, (64, 96), split, whole, mesh), 8)
  assert {one.kind for one in found} == {kind}
  (one,) = found
  assert len(one.group) == 4 and one.runs == 1
  # Of an all-to-all each device sends its quarter.
  assert one.array_bytes == 64 * 96 * 4 / (4 if kind == "all-to-all" else 1)


def test_loops_count_as_often_as_they_turn():
  mesh = make_mesh(MeshConfig(data=1, fsdp=8))
  def step(x):
    def body(carry, w):
      return jnp.tanh(carry @ w), None
    return jax.lax.scan(body, jnp.ones((4, 64)), x)[0]
  found, unknown = read_collectives(compiled_text(
      step, (6, 64, 64), PartitionSpec(None, "fsdp"), PartitionSpec(), mesh), 8)
  assert not unknown
  assert math.prod((1, *{one.runs for one in found})) in (6, 36)
