"""A DeepSeek-V4 module tree for mlx-lm, which has none: parameters with the names of family (a), nothing to run.

Names: the model's specification, section 8.1, as of mlx-lm's pull request 1192. The experts are mlx-lm's own SwitchGLU.
Only the config says what is there; nothing here looks at a bundle.
"""

from dataclasses import dataclass, field

import mlx.core as mx
from mlx import nn
from mlx_lm.models.base import BaseModelArgs
from mlx_lm.models.switch_layers import SwitchGLU
from stored import stacked


@dataclass
class ModelArgs(BaseModelArgs):
    model_type: str = "deepseek_v4"
    vocab_size: int = 0
    hidden_size: int = 0
    num_hidden_layers: int = 0
    num_hash_layers: int = 0
    compress_ratios: list = field(default_factory=list)
    num_attention_heads: int = 0
    head_dim: int = 0
    q_lora_rank: int = 0
    o_groups: int = 0
    o_lora_rank: int = 0
    index_n_heads: int = 0
    index_head_dim: int = 0
    moe_intermediate_size: int = 0
    n_routed_experts: int = 0
    num_experts_per_tok: int = 0
    hc_mult: int = 0


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class HyperConnection(nn.Module):
    def __init__(self, a, mixes, scales):
        super().__init__()
        self.fn = mx.zeros((mixes, a.hc_mult * a.hidden_size))
        self.base = mx.zeros((mixes,))
        self.scale = mx.zeros((scales,))


class Compressor(nn.Module):
    def __init__(self, a, ratio, width):
        super().__init__()
        channels = 2 * width if ratio == 4 else width
        self.wkv = linear(a.hidden_size, channels)
        self.wgate = linear(a.hidden_size, channels)
        self.ape = mx.zeros((ratio, channels))
        self.norm = nn.RMSNorm(width)


class Indexer(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.wq_b = linear(a.q_lora_rank, a.index_n_heads * a.index_head_dim)
        self.weights_proj = linear(a.hidden_size, a.index_n_heads)
        self.compressor = Compressor(a, 4, a.index_head_dim)


class Attention(nn.Module):
    def __init__(self, a, ratio):
        super().__init__()
        heads = a.num_attention_heads * a.head_dim
        self.wq_a = linear(a.hidden_size, a.q_lora_rank)
        self.q_norm = nn.RMSNorm(a.q_lora_rank)
        self.wq_b = linear(a.q_lora_rank, heads)
        self.wkv = linear(a.hidden_size, a.head_dim)
        self.kv_norm = nn.RMSNorm(a.head_dim)
        self.wo_a = linear(heads // a.o_groups, a.o_groups * a.o_lora_rank)
        self.wo_b = linear(a.o_groups * a.o_lora_rank, a.hidden_size)
        self.attn_sink = mx.zeros((a.num_attention_heads,))
        if ratio:
            self.compressor = Compressor(a, ratio, a.head_dim)
        if ratio == 4:
            self.indexer = Indexer(a)


class Gate(nn.Module):
    def __init__(self, a, hashed):
        super().__init__()
        self.weight = mx.zeros((a.n_routed_experts, a.hidden_size))
        if hashed:
            self.tid2eid = mx.zeros((a.vocab_size, a.num_experts_per_tok), mx.int64)
        else:
            self.e_score_correction_bias = mx.zeros((a.n_routed_experts,))


class SharedExpert(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.gate_proj = linear(a.hidden_size, a.moe_intermediate_size)
        self.up_proj = linear(a.hidden_size, a.moe_intermediate_size)
        self.down_proj = linear(a.moe_intermediate_size, a.hidden_size)


class Experts(nn.Module):
    def __init__(self, a, hashed):
        super().__init__()
        self.gate = Gate(a, hashed)
        self.shared_experts = SharedExpert(a)
        self.switch_mlp = SwitchGLU(a.hidden_size, a.moe_intermediate_size, a.n_routed_experts)


class Layer(nn.Module):
    def __init__(self, a, i):
        super().__init__()
        mixes = (2 + a.hc_mult) * a.hc_mult
        self.attn_norm = nn.RMSNorm(a.hidden_size)
        self.ffn_norm = nn.RMSNorm(a.hidden_size)
        self.attn_hc = HyperConnection(a, mixes, 3)
        self.ffn_hc = HyperConnection(a, mixes, 3)
        self.attn = Attention(a, a.compress_ratios[i])
        self.ffn = Experts(a, i < a.num_hash_layers)


class Body(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embed_tokens = nn.Embedding(a.vocab_size, a.hidden_size)
        self.layers = [Layer(a, i) for i in range(a.num_hidden_layers)]
        self.norm = nn.RMSNorm(a.hidden_size)
        self.hc_head = HyperConnection(a, a.hc_mult, 1)


class Model(nn.Module):
    """The tree as mlx-lm's converters name it."""

    def __init__(self, args):
        super().__init__()
        self.args, self.model_type = args, args.model_type
        self.model = Body(args)
        self.lm_head = linear(args.hidden_size, args.vocab_size)

    @property
    def layers(self):
        return self.model.layers

    def sanitize(self, weights):
        """Renames and stacks a bundle in upstream's spelling, as runtimes do; other names pass as they are."""
        return stacked(weights, mx.stack)


class PrefixedModel(nn.Module):
    """The same tree as mlx-vlm names it."""

    def __init__(self, args):
        super().__init__()
        self.args, self.model_type = args, args.model_type
        self.language_model = Model(args)
