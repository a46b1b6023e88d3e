"""Length lab: what the lineage's attention and position techniques do to a language model that reads longer inputs.

    KERAS_BACKEND=torch python benchmarks/length/lab.py --tokens=run/tokens.npz --output=length_lab
    KERAS_BACKEND=torch python benchmarks/length/lab.py --tokens=run/tokens.npz --output=length_lab --seeds=3

--tokens is a corpus as examples/pretrain_mlm.py stores it. A causal GAU of 4.8 M parameters is trained at 128 tokens,
seven times (baseline, log-n, bias, key norm with and without log-n, HWFA, HWFA2), about 20 minutes each on one core;
every way of reading longer inputs with the same weights is tested on the training that it changes. Stopped, the same
command goes on: trainings after the last saved state, tests with the cells that are missing. --output gets the states
(about 60 MB a training), a file of results for each reading, `lab.md` and `lab.png`, drawn anew after each training.
"""

import os
import sys
import time

import keras
from absl import app, flags
from lab_criteria import SEEDS
from lab_model import Setting, cell_name, cells, reread, tested, trained
from lab_report import picture, report
from lab_results import TESTED, collected, file_name, keep, kept, path_of, settings_of
from lab_variants import READINGS, TRAININGS

import zoo
from zoo.data import load_corpus

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from records import made_on  # noqa: E402

D = Setting()
F = flags.FLAGS
flags.DEFINE_string("tokens", None, "tokens.npz of examples/pretrain_mlm.py; without it nothing is measured.")
flags.DEFINE_string("output", "length_lab", "Folder of states and results.")
flags.DEFINE_list("only", list(TRAININGS), "Trainings to run, with their readings.")
flags.DEFINE_integer("seeds", 1, f"Trainings of each kind; {SEEDS} where a ranking disagrees with its post.")
flags.DEFINE_list("lengths", "128,256,512,1024,2048", "Tokens of a row in test.")
flags.DEFINE_integer("layers", D.layers, "Gated attention units.")
flags.DEFINE_integer("width", D.width, "Hidden width.")
flags.DEFINE_integer("key_dim", D.key_dim, "Width of shared queries and keys.")
flags.DEFINE_integer("length", D.length, "N, tokens of a row in training.")
flags.DEFINE_integer("batch_size", D.batch_size, "Rows a step.")
flags.DEFINE_integer("steps", D.steps, "Steps of each training, a multiple of --steps_per_epoch.")
flags.DEFINE_integer("steps_per_epoch", D.steps_per_epoch, "Steps between two saved states.")
flags.DEFINE_float("learning_rate", D.learning_rate, "Peak, after a sixth of the steps and before a cosine decay.")
flags.DEFINE_string("dtype", D.dtype, "Dtype policy.")
flags.DEFINE_float("factor", D.factor, "k of the frequency scalings, the same at every length.")
flags.DEFINE_integer("test_tokens", D.test_tokens, "Tokens of held-out text tested at each length.")


def work(training, seed, setting, lengths, tokenizer, train, heldout, output):
    """Tests of all readings of a training; trains first, if any is missing."""
    settings = settings_of(setting, tokenizer, train, heldout)
    readings = [reading for reading in READINGS if reading.training == training]
    wanted = {cell_name(*cell): cell for cell in cells(setting, lengths)}
    found = {r.name: kept(path_of(output, seed, r.name), settings) for r in readings}
    if all(set(wanted) <= set(found[r.name]) for r in readings):
        return
    print(f"== {training}, seed {seed}", flush=True)
    folder = os.path.join(output, f"seed-{seed}", file_name(training))
    # States know their model and data, but not their schedule
    schedule = {name: value for name, value in settings.items() if name not in TESTED}
    keep(os.path.join(folder, "settings.json"), schedule, kept(os.path.join(folder, "settings.json"), schedule))
    options = TRAININGS[training](setting.layers, setting.length)
    model = trained(setting, options, tokenizer, train, seed, folder)
    for reading in readings:
        missing = [name for name in wanted if name not in found[reading.name]]
        if not missing:
            continue
        start = time.time()
        options = reading.layer_attention(setting.layers, setting.length, setting.factor)
        reader = reread(model, setting, options)
        for name in missing:
            found[reading.name][name] = tested(reader, setting, heldout.ids, *wanted[name], tokenizer.cls_token_id)
            keep(path_of(output, seed, reading.name), settings, found[reading.name])
        shown = ", ".join(f"{name} {found[reading.name][name]['accuracy']:.2f}" for name in wanted)
        print(f"{reading.name}: {shown} ({time.time() - start:.0f} s)", flush=True)


def summarize(setting, lengths, seeds, output):
    """Writes table and picture of what is there; returns the table."""
    results = collected(output, seeds, [reading.name for reading in READINGS])
    command = f"KERAS_BACKEND={keras.backend.backend()} python benchmarks/length/lab.py --tokens=FILE --seeds={seeds}"
    made = "{processor}, {cores} cores, {date}".format(**made_on())
    page = f"{report(results, setting, lengths)}\n    {command}\n\n{made}\n"
    with open(os.path.join(output, "lab.md"), "w", encoding="utf-8") as file:
        file.write(page)
    picture(results, setting, lengths).savefig(os.path.join(output, "lab.png"))
    return page


def main(_):
    if F.tokens is None:
        return print("length lab: no --tokens, nothing is measured")
    if unknown := sorted(set(F.only) - set(TRAININGS)):
        raise app.UsageError(f"--only={','.join(unknown)}: expected some of {', '.join(TRAININGS)}")
    setting = Setting(**{name: F[name].value for name in Setting.__dataclass_fields__})
    lengths = sorted(map(int, F.lengths))
    for training in F.only:  # sizes that do not fit are an error now, and not after an hour
        TRAININGS[training](setting.layers, setting.length)
    corpus = load_corpus(F.tokens)
    if corpus is None:
        raise app.UsageError(f"--tokens={F.tokens}: there is no such file; examples/pretrain_mlm.py makes one")
    vocabulary, train, heldout = corpus
    os.makedirs(F.output, exist_ok=True)
    for seed in range(F.seeds):  # seed by seed, so that a lab that was stopped has a whole table
        for training in F.only:
            work(training, seed, setting, lengths, zoo.Tokenizer(vocabulary), train, heldout, F.output)
            summarize(setting, lengths, F.seeds, F.output)
    print(summarize(setting, lengths, F.seeds, F.output))


if __name__ == "__main__":
    zoo.command_line.run(main)
