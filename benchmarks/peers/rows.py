"""What is measured and who takes part. Imports no library, so that the driver stays light.

A row is one job done by several contenders, each in a process of its own. `work` is the job's size: what the time is
divided by for the table. A contender is a function of a module of this folder (`side`), called with `options`.
"""

from dataclasses import dataclass, field

F32, BF16 = "float32", "mixed_bfloat16"


@dataclass(frozen=True)
class Contender:
    name: str
    side: str
    backend: str = "torch"
    options: dict = field(default_factory=dict)
    peer: str = ""  # the library, of one that zoo is held against
    compare: bool = False  # its output is held against the first contender's

    @property
    def dtype(self):
        return self.options.get("dtype", F32).removeprefix("mixed_")


@dataclass(frozen=True)
class Row:
    title: str
    unit: str
    contenders: tuple
    needs: tuple = ()  # flags that must be given
    note: str = ""  # what the contenders do differently


def zoo(backend, dtype):
    return Contender(f"zoo {backend} {dtype}", "zoo_side", backend, {"dtype": dtype}, compare=True)


def keras_hub(backend, dtype):
    return Contender(f"keras-hub {backend} {dtype}", "keras_hub_side", backend, {"dtype": dtype}, peer="keras-hub")


def sentence_transformers(dtype, compare=False):
    name = "sentence-transformers"
    return Contender(
        f"{name} {dtype}", "sentence_transformers_side", options={"dtype": dtype}, peer=name, compare=compare
    )


BERT4KERAS = Contender("bert4keras float32", "bert4keras_side", "tensorflow", peer="bert4keras")
ROFORMER = Contender(
    "transformers RoFormer float32", "transformers_side", options={"dtype": F32}, peer="transformers RoFormer"
)
KINDS = (("torch", F32), ("torch", BF16), ("jax", F32), ("tensorflow", F32), ("tensorflow", BF16))
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
PAIRS = (64, 1024, 4096, 16384, 65536)

ROWS = {
    "encode_minilm": Row(
        "Encode 2,000 English sentences with all-MiniLM-L6-v2, batches of 64 by length",
        "sentences/s",
        (
            sentence_transformers(F32),
            zoo("torch", F32),
            zoo("jax", F32),
            zoo("tensorflow", F32),
            sentence_transformers("bfloat16", compare=True),
            zoo("torch", "bfloat16"),
            zoo("tensorflow", "bfloat16"),
        ),
        needs=("sentences",),
    ),
    "train_small": Row(
        "Training step of RoFormerV2-small (L6 H384 A6 V12000), CoSENT, 32 rows x 64 tokens, Adam",
        "steps/s",
        (BERT4KERAS, *(maker(*kind) for kind in KINDS for maker in (zoo, keras_hub)), ROFORMER),
    ),
    "infer_small": Row(
        "Inference of RoFormerV2-small, 256 rows x 64 tokens in batches of 64",
        "rows/s",
        (BERT4KERAS, *(maker(*kind) for kind in KINDS for maker in (zoo, keras_hub)), ROFORMER),
    ),
    "low_rank": Row(
        "Rank-8 training step, 32 rows x 64 tokens, AdamW",
        "steps/s",
        (
            Contender(
                "peft LoRA on transformers RoFormer float32", "transformers_side", options={"dtype": F32}, peer="peft"
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
                (
                    Contender(
                        "sentence-transformers",
                        "sentence_transformers_side",
                        options={"pairs": n},
                        peer="sentence-transformers",
                    ),
                )
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
            Contender("transformers BertTokenizerFast", "transformers_side", peer="transformers"),
            Contender("bert4keras", "bert4keras_side", "tensorflow", peer="bert4keras"),
            Contender("keras-hub (Python path)", "keras_hub_side", "torch", peer="keras-hub"),
            Contender("zoo", "zoo_side"),
        ),
        note="All add [CLS] and [SEP] and lower-case. keras-hub's lower-casing also makes ASCII of full-width "
        "punctuation, which this vocabulary lacks: same work, other ids.",
    ),
    "start": Row(
        "From a fresh process to the first embedding with MiniLM: import, load, encode one sentence",
        "1/s",
        (
            Contender("sentence-transformers", "sentence_transformers_side", peer="sentence-transformers"),
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


def missing_flags(names, given):
    """The flags that rows need and nobody gave, by row."""
    missing = {name: [f"--{flag}" for flag in ROWS[name].needs if flag not in given] for name in names}
    return {name: ", ".join(flags) for name, flags in missing.items() if flags}
