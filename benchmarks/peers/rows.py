"""What is measured and who takes part. Imports no library, so that the driver stays light.

A row is one job done by several contenders, each in a process of its own. `work` is the job's size: what the time is
divided by for the table. A contender is a function of a module of this folder (`side`), called with `options`.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contender:
    name: str
    side: str
    backend: str = "torch"
    options: dict = field(default_factory=dict)
    peer: bool = False  # ratios are taken against the fastest peer of the same `group`
    group: str = ""
    compare: bool = False  # its output is held against the first contender's


@dataclass(frozen=True)
class Row:
    title: str
    unit: str
    contenders: tuple
    needs: tuple = ()  # flags that must be given


def zoo(backend, dtype, group="", **options):
    return Contender(
        f"zoo {backend} {dtype}", "zoo_side", backend, {"dtype": dtype, **options}, group=group, compare=True
    )


F32, BF16 = "float32", "mixed_bfloat16"
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
PAIRS = (64, 1024, 4096, 16384, 65536)

ROWS = {
    "encode_minilm": Row(
        "Encode 2,000 English sentences with all-MiniLM-L6-v2, batches of 64 by length",
        "sentences/s",
        (
            Contender(
                "sentence-transformers float32",
                "sentence_transformers_side",
                options={"dtype": F32},
                peer=True,
                group=F32,
            ),
            zoo("torch", F32, F32),
            zoo("jax", F32, F32),
            zoo("tensorflow", F32, F32),
            Contender(
                "sentence-transformers bfloat16",
                "sentence_transformers_side",
                options={"dtype": "bfloat16"},
                peer=True,
                group=BF16,
                compare=True,
            ),
            zoo("torch", BF16, BF16),
        ),
        needs=("sentences",),
    ),
    "train_small": Row(
        "Training step of RoFormerV2-small (L6 H384 A6 V12000), CoSENT, 32 rows x 64 tokens, Adam",
        "steps/s",
        (
            Contender("bert4keras float32", "bert4keras_side", "tensorflow", peer=True),
            zoo("torch", F32),
            zoo("torch", BF16),
            zoo("jax", F32),
            zoo("tensorflow", F32),
            zoo("tensorflow", BF16),
            Contender(
                "keras-hub torch float32",
                "keras_hub_side",
                "torch",
                {"dtype": F32},
                peer=True,
                group="hub torch float32",
            ),
            Contender(
                "keras-hub torch mixed_bfloat16",
                "keras_hub_side",
                "torch",
                {"dtype": BF16},
                peer=True,
                group="hub torch mixed_bfloat16",
            ),
            Contender(
                "keras-hub jax float32", "keras_hub_side", "jax", {"dtype": F32}, peer=True, group="hub jax float32"
            ),
            Contender(
                "keras-hub tensorflow float32",
                "keras_hub_side",
                "tensorflow",
                {"dtype": F32},
                peer=True,
                group="hub tensorflow float32",
            ),
            Contender(
                "transformers RoFormer float32",
                "transformers_side",
                options={"dtype": F32},
                peer=True,
                group="transformers",
            ),
        ),
    ),
    "infer_small": Row(
        "Inference of RoFormerV2-small, 256 rows x 64 tokens in batches of 64",
        "rows/s",
        (
            Contender("bert4keras float32", "bert4keras_side", "tensorflow", peer=True),
            zoo("torch", F32),
            zoo("torch", BF16),
            zoo("jax", F32),
            zoo("tensorflow", F32),
            Contender(
                "keras-hub torch float32",
                "keras_hub_side",
                "torch",
                {"dtype": F32},
                peer=True,
                group="hub torch float32",
            ),
            Contender(
                "transformers RoFormer float32",
                "transformers_side",
                options={"dtype": F32},
                peer=True,
                group="transformers",
            ),
        ),
    ),
    "low_rank": Row(
        "Rank-8 training step, 32 rows x 64 tokens, AdamW",
        "steps/s",
        (
            Contender(
                "peft LoRA on transformers RoFormer float32", "transformers_side", options={"dtype": F32}, peer=True
            ),
            Contender("zoo LowRank torch float32", "zoo_side", "torch", {"dtype": F32}),
            Contender("zoo full Adam torch float32", "zoo_side", "torch", {"dtype": F32, "rank": 0}),
            Contender("zoo LowRank torch mixed_bfloat16", "zoo_side", "torch", {"dtype": BF16}),
        ),
    ),
    **{
        f"cosent_{n}": Row(
            f"CoSENT, loss and gradient, {n:,} pairs",
            "1/s",
            tuple(Contender(f"zoo {b}", "zoo_side", b, {"pairs": n}) for b in ("torch", "jax", "tensorflow"))
            + (
                (Contender("sentence-transformers", "sentence_transformers_side", options={"pairs": n}, peer=True),)
                if n <= 4096
                else ()
            ),
        )
        for n in PAIRS
    },
    "tokenize": Row(
        "Tokenize 20,000 Chinese sentences of the bundled set, to padded arrays",
        "sentences/s",
        (
            Contender("transformers BertTokenizerFast", "transformers_side", peer=True, group="transformers"),
            Contender("bert4keras", "bert4keras_side", "tensorflow", peer=True, group="bert4keras"),
            Contender("keras-hub (Python path)", "keras_hub_side", "torch", peer=True, group="hub"),
            Contender("zoo", "zoo_side"),
        ),
    ),
    "start": Row(
        "From a fresh process to the first embedding with MiniLM: import, load, encode one sentence",
        "1/s",
        (
            Contender("sentence-transformers", "sentence_transformers_side", peer=True),
            Contender("zoo torch", "zoo_side", "torch"),
            Contender("zoo jax", "zoo_side", "jax"),
            Contender("zoo tensorflow", "zoo_side", "tensorflow"),
        ),
    ),
    **{
        f"length_{n}": Row(
            f"{n} tokens: encode 8,192 tokens with 4 blocks of RoFormerV2 or 8 of GAU-alpha, 256 wide",
            "tokens/s",
            tuple(
                Contender(f"zoo {family} {dtype}", "zoo_side", "torch", {"family": family, "length": n, "dtype": dtype})
                for family in ("RoFormerV2", "GAUAlpha")
                for dtype in (F32, BF16)
            ),
        )
        for n in LENGTHS
    },
    **{
        f"batch_{n}": Row(
            f"Batches of {n}: encode 8,192 tokens in rows of 64 with RoFormerV2, 4 blocks, 256 wide",
            "tokens/s",
            tuple(
                Contender(
                    f"zoo {dtype}",
                    "zoo_side",
                    "torch",
                    {"family": "RoFormerV2", "length": 64, "dtype": dtype, "batch": n},
                )
                for dtype in (F32, BF16)
            ),
        )
        for n in (1, 4, 16, 64)
    },
}
