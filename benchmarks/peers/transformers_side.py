"""transformers' RoFormer (first version: it has no RoFormerV2) with peft, and its fast tokenizer."""

import small
import texts
import torch


def encoder(dtype):
    from transformers import RoFormerConfig, RoFormerModel

    torch.manual_seed(0)
    config = RoFormerConfig(**{**small.CONFIG, "embedding_size": small.CONFIG["hidden_size"]})
    return RoFormerModel(config).to(getattr(torch, dtype))


def step(model, optimizer):
    token_ids, segment_ids = map(torch.tensor, small.batch(32))
    mask, labels = (token_ids != 0).long(), torch.tensor(small.labels(16))
    ordered = labels[:, None] > labels[None, :]

    def run():
        optimizer.zero_grad()
        hidden = model(input_ids=token_ids, token_type_ids=segment_ids, attention_mask=mask).last_hidden_state
        vectors = torch.nn.functional.normalize(hidden[:, 0].float(), dim=-1)
        scores = 20 * (vectors[::2] * vectors[1::2]).sum(-1)
        terms = (scores[None, :] - scores[:, None]).masked_fill(~ordered, -1e12).flatten()
        torch.logsumexp(torch.cat([torch.zeros(1), terms]), 0).backward()
        optimizer.step()

    return run


def train_small(workdir, dtype):
    model = encoder(dtype).train()
    return step(model, torch.optim.Adam(model.parameters(), 2e-5)), {"work": 1, "flops": small.flops(32, 3)}


def infer_small(workdir, dtype):
    model = encoder(dtype).eval()
    token_ids = torch.tensor(small.batch(256)[0])

    @torch.no_grad()
    def run():
        return [
            model(input_ids=part, attention_mask=(part != 0).long()).last_hidden_state for part in token_ids.split(64)
        ]

    return run, {"work": 256, "flops": small.flops(256)}


def low_rank(workdir, dtype):
    from peft import LoraConfig, get_peft_model

    targets = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
    model = get_peft_model(encoder(dtype).train(), LoraConfig(r=8, target_modules=targets))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    run = step(model, optimizer)
    run()
    size = sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t))
    adapters = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return run, {"work": 1, "flops": small.flops(32, 2), "optimizer_mb": (size + adapters) / 2**20}


def tokenize(workdir):
    import os

    from transformers import BertTokenizerFast

    path = os.path.join(workdir, "vocab.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(texts.vocabulary()))
    tokenizer, lines = BertTokenizerFast(path), texts.chinese()

    def run():
        return tokenizer(lines, max_length=64, truncation=True, padding=True, return_tensors="np")["input_ids"]

    return run, {"work": len(lines), "sum": int(run().sum())}
