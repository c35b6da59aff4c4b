"""transformers' DeepSeek-V4 in float32 with given weights, and what it says of windows of token ids."""

import json
import re
import sys

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import DeepseekV4Config, DeepseekV4ForCausalLM
from weights import reference_weights, variant_weights


def model_config(folder):
    """The modern transformers config of an upstream config.json; nothing is left to a default of V4-Pro."""
    c = json.loads((folder / "config.json").read_text())
    layers, partial = c["num_hidden_layers"], c["qk_rope_head_dim"] / c["head_dim"]
    kind = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
    yarn = {k: v for k, v in c["rope_scaling"].items() if k != "type"}
    same = """vocab_size hidden_size moe_intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
        head_dim q_lora_rank num_experts_per_tok n_routed_experts n_shared_experts scoring_func norm_topk_prob
        routed_scaling_factor max_position_embeddings hc_mult hc_sinkhorn_iters hc_eps swiglu_limit sliding_window
        o_groups o_lora_rank index_n_heads index_head_dim index_topk num_nextn_predict_layers hidden_act rms_norm_eps
        tie_word_embeddings attention_bias attention_dropout rope_theta compress_rope_theta""".split()
    return DeepseekV4Config(
        **{k: c[k] for k in same},
        layer_types=[kind[r] for r in c["compress_ratios"][:layers]],
        compress_rates={kind[4]: 4, kind[128]: 128},
        mlp_layer_types=["hash_moe" if i < c["num_hash_layers"] else "moe" for i in range(layers)],
        partial_rotary_factor=partial,
        rope_parameters={
            "main": {"rope_type": "default", "rope_theta": c["rope_theta"], "partial_rotary_factor": partial},
            "compress": {"rope_type": c["rope_scaling"]["type"], **yarn, "rope_theta": c["compress_rope_theta"],
                         "partial_rotary_factor": partial, "attention_factor": 1.0},
        },
    )  # fmt: skip


# A router's or indexer's last chosen and first left out whose scores are closer than this may change places in
# another correct float32 implementation. Seen with gaps up to 2.9e-5, most below 1e-6; scores are about 2 and 10.
NEAR_TIE = 5e-5

# Parameter names of transformers -> names of the upstream checkpoint, applied in order.
RENAMES = [
    (r"^model\.", ""),
    (r"^embed_tokens\.", "embed."),
    (r"^lm_head\.", "head."),
    (r"^hc_head\.hc_", "hc_head_"),
    (r"\.input_layernorm\.", ".attn_norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
    (r"\.(attn|ffn)_hc\.", r".hc_\1_"),
    (r"\.self_attn\.", ".attn."),
    (r"\.compressor\.indexer\.q_b_proj\.", ".indexer.wq_b."),
    (r"\.compressor\.indexer\.scorer\.", ".indexer."),
    (r"\.compressor\.indexer\.", ".indexer.compressor."),
    (r"\.compressor\.kv_norm\.", ".compressor.norm."),
    (r"\.position_bias$", ".ape"),
    (r"\.sinks$", ".attn_sink"),
    (r"\.(q|o)_(a|b)_proj\.", r".w\1_\2."),
    (r"\.q_a_norm\.", ".q_norm."),
    (r"\.kv_proj\.", ".wkv."),
    (r"\.compressor\.gate_proj\.", ".compressor.wgate."),
    (r"\.mlp\.", ".ffn."),
    (r"\.shared_experts\.gate_proj\.", ".shared_experts.w1."),
    (r"\.shared_experts\.up_proj\.", ".shared_experts.w3."),
    (r"\.shared_experts\.down_proj\.", ".shared_experts.w2."),
    (r"\.e_score_correction_bias$", ".bias"),
]


def load(folder, weights):
    """transformers' model in float32 with the given upstream weights; each is used exactly once."""
    config = model_config(folder)
    model = DeepseekV4ForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    model.set_experts_implementation("eager")
    left, state = dict(weights), {}
    for key in model.state_dict():
        if key.endswith("_inv_freq"):
            continue
        name = key
        for pattern, by in RENAMES:
            name = re.sub(pattern, by, name)
        stack, _, leaf = name.rpartition(".")
        experts = [f"{stack}.{e}." for e in range(config.n_routed_experts)]
        if leaf == "gate_up_proj":
            a = np.stack([np.concatenate([left.pop(e + "w1.weight"), left.pop(e + "w3.weight")]) for e in experts])
        elif leaf == "down_proj":
            a = np.stack([left.pop(e + "w2.weight") for e in experts])
        else:
            a = left.pop(name)
        state[key] = torch.from_numpy(np.array(a))
    if left:
        raise ValueError(f"oracle: {len(left)} tensors have no place in the model, such as {min(left)!r}")
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [k for k in missing if not k.endswith("_inv_freq")]:
        raise ValueError(f"oracle: not loaded: {missing} {unexpected}")
    return model


def encode(folder, text):
    """Token ids of text, no special token added."""
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids


def cut(ids, window, limit):
    """Window i is ids[window*i : window*(i+1)] and the token after it, its last target."""
    n = min((len(ids) - 1) // window, limit)
    if n < 1:
        raise ValueError(f"oracle: {len(ids)} tokens hold no window of {window} and a target")
    return [ids[window * i : window * (i + 1) + 1] for i in range(n)]


def watch_selections(model, ties):
    """Until the returned hooks are removed, a forward pass adds every near-tie of a router or indexer to ties:
    (position, layer, kind, gap, index of the last chosen, index of the first left out)."""

    def compare(scores, k, layer, kind):  # scores [window, choices]
        if scores.shape[1] <= k:
            return
        value, index = scores.topk(k + 1, dim=-1)
        gap = value[:, k - 1] - value[:, k]  # infinite or nan where no more than k can be seen
        for t in torch.where(gap < NEAR_TIE)[0].tolist():
            ties.append((t, layer, kind, gap[t].item(), *index[t, k - 1 :].tolist()))

    def of_router(layer):
        return lambda m, _, out: compare(m.score_fn(out[0]) + m.e_score_correction_bias, m.top_k, layer, "router")

    def of_indexer(layer, indexer):
        def hook(_, __, scores):  # [1, window, blocks], future blocks not yet masked
            visible = (torch.arange(scores.shape[1]) + 1) // indexer.compress_rate
            future = torch.arange(scores.shape[2]) >= visible[:, None]
            compare(scores[0].masked_fill(future, -torch.inf), indexer.index_topk, layer, "indexer")

        return hook

    hooks = []
    for n, layer in enumerate(model.model.layers):
        if not layer.mlp.is_hash:
            hooks.append(layer.mlp.gate.register_forward_hook(of_router(n)))
        indexer = getattr(layer.self_attn.compressor, "indexer", None)
        if indexer is not None:
            hooks.append(indexer.scorer.register_forward_hook(of_indexer(n, indexer)))
    return hooks


def swap_selection(model, tie):
    """Until the returned hook is removed, a forward pass decides the given near-tie the other way."""
    position, layer, kind, _, chosen, left_out = tie

    def router(gate, _, out):
        logits, _, experts = out
        experts = experts.clone()
        experts[position, experts[position] == chosen] = left_out
        weights = gate.score_fn(logits).gather(1, experts)
        return logits, weights / weights.sum(-1, keepdim=True) * gate.routed_scaling_factor, experts

    def indexer(_, __, scores):
        scores = scores.clone()
        scores[0, position, [chosen, left_out]] = scores[0, position, [left_out, chosen]]
        return scores

    layer = model.model.layers[layer]
    if kind == "router":
        return layer.mlp.gate.register_forward_hook(router)
    return layer.self_attn.compressor.indexer.scorer.register_forward_hook(indexer)


@torch.no_grad()
def hidden_states(model, ids, swap=None):
    """The normed states before the head [window, hidden], and the near-ties on the way by position.

    ids ends with the last target, which is not fed. The window stands alone, from position 0, without a cache.
    """
    ties = []
    hooks = watch_selections(model, ties)
    if swap:
        hooks.append(swap_selection(model, swap))
    state = model.model(torch.tensor([ids[:-1]]), use_cache=False).last_hidden_state[0]
    for hook in hooks:
        hook.remove()
    return state, sorted(ties)


@torch.no_grad()
def log_probs(model, hidden):
    """Natural logarithms over the vocabulary [window, vocab]: logits in float32, softmax in float64."""
    return torch.log_softmax(model.lm_head(hidden).double(), -1)


def score(folder, names, windows, swap=None):
    """name -> log-probabilities of the targets [windows, window]; NLL, KL to bf16 and top-1 agreement of each window;
    the near-ties (window, position, ...). swap is a near-tie that the named variants decide the other way."""
    weights = reference_weights(folder)
    reference = load(folder, weights)
    states = [hidden_states(reference, ids) for ids in windows]
    out = {}
    for name in names:
        model = reference if name == "bf16" else load(folder, variant_weights(weights, name))
        s = out[name] = {"logprobs": [], "nll": [], "kl": [], "top1": [], "near_ties": []}
        for i, (ids, (reference_state, _)) in enumerate(zip(windows, states, strict=True)):
            state, ties = states[i] if name == "bf16" and not swap else hidden_states(model, ids, swap)
            p, q = log_probs(reference, reference_state), log_probs(model, state)
            s["logprobs"].append(q.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy())
            s["nll"].append(-s["logprobs"][-1].mean())
            s["kl"].append((p.exp() * (p - q)).sum(-1).mean().item())
            s["top1"].append((p.argmax(-1) == q.argmax(-1)).double().mean().item())
            s["near_ties"] += [(i, *t) for t in ties]
        s["logprobs"] = np.stack(s["logprobs"])
        progress(f"{name}: " + ", ".join(f"{k} {np.mean(s[k]):.7f}" for k in ("nll", "kl", "top1")))
    return out


def progress(line):
    print(line, file=sys.stderr, flush=True)
