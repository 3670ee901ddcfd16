"""The names of tensors: which of a file's may be one network."""

import pytest

from sr_keras import state_dict
from sr_keras.errors import InputError

NETWORK = ["body.0.weight", "body.0.bias", "tail.weight"]


def found(*names: str) -> list[tuple[list[str], tuple[str, ...]]]:
    return [(list(tensors), notes) for tensors, notes in state_dict.candidates(dict.fromkeys(names, 0))]


def test_the_tensors_as_they_are_come_first_without_a_note():
    assert found(*NETWORK)[0] == (NETWORK, ())


@pytest.mark.parametrize("prefix", ["_orig_mod.", "net_g.", "generator.", "model.", "model._orig_mod.net."])
def test_what_all_names_share_is_taken_off(prefix):
    told = (f"'{prefix}' was taken off the names of all tensors",)
    assert (NETWORK, told) in found(*(prefix + name for name in NETWORK))


def test_a_network_beside_others_is_one_of_the_groups():
    beside = ["perceptual.vgg.0.weight", "perceptual.vgg.0.bias", "n_averaged"]
    told = (
        "left aside, as nothing of the network: 'perceptual'",
        "of the file, what is under 'model' was taken, and 'n_averaged' left aside",
    )
    assert (NETWORK, told) in found(*(f"model.{name}" for name in NETWORK), *beside)


def test_an_averaged_model_is_found_beside_its_counter():
    told = ("of the file, what is under 'module' was taken, and 'n_averaged' left aside",)
    assert (NETWORK, told) in found("n_averaged", *(f"module.{name}" for name in NETWORK))


def test_averaged_groups_come_before_larger_ones():
    names = [f"{part}.{name}" for part in ("net_g", "net_g_ema") for name in NETWORK]
    groups = [notes[0] for tensors, notes in found(*names, "net_g.more") if tensors[:3] == NETWORK]
    assert [note.split("'")[1] for note in groups] == ["net_g_ema", "net_g"]


def test_groups_are_found_behind_what_all_share_and_lose_what_they_share():
    names = [f"model.generator._orig_mod.{name}" for name in NETWORK]
    told = (
        "'model.' was taken off the names of all tensors",
        "of the file, what is under 'generator' was taken, and 'other' left aside",
        "'_orig_mod.' was taken off the names of all tensors",
    )
    assert (NETWORK, told) in found(*names, "model.other.x", "model.other.y")


def test_what_stands_beside_is_left_aside_behind_what_all_share_too():
    told = (
        "left aside, as nothing of the network: 'vgg'",
        "'model._orig_mod.' was taken off the names of all tensors",
    )
    assert (NETWORK, told) in found(*(f"model._orig_mod.{name}" for name in NETWORK), "model.vgg.0.weight")


@pytest.mark.parametrize("part", ["teacher", "model_d"])
def test_what_seems_to_stand_beside_is_taken_where_nothing_else_fits(part):
    told = (f"of the file, what is under '{part}' was taken, and 'n_averaged' left aside",)
    assert (NETWORK, told) in found("n_averaged", *(f"{part}.{name}" for name in NETWORK))


@pytest.mark.parametrize("part", ["c1_d", "conv_d", "att_d", "conv_dis", "distilled", "down", "upsample", "flow", "b1"])
def test_layers_of_like_names_stay(part):
    assert found(*NETWORK, f"{part}.weight")[0] == ([*NETWORK, f"{part}.weight"], ())


BESIDE = "perceptual net_d netD discriminatorA vgg19 lpips cri_pix teacher pixel_loss".split()


@pytest.mark.parametrize("part", BESIDE)
def test_what_stands_beside_a_network_is_left_aside(part):
    assert found(*NETWORK, f"{part}.0.weight")[0] == (NETWORK, (f"left aside, as nothing of the network: '{part}'",))
    assert found(f"{part}.0.weight")[0] == ([f"{part}.0.weight"], ())  # unless it is all that there is


def test_a_profilers_counters_are_left_aside():
    counted = [name for layer in ("", "body.0.", "tail.") for name in (f"{layer}total_ops", f"{layer}total_params")]
    told = ("'total_ops' and 'total_params', a profiler's, were left aside",)
    assert found(*NETWORK, *counted)[0] == (NETWORK, told)


@pytest.mark.parametrize(
    "places",
    [
        ["params_ema", "params", "params_d"],
        ["G_ema", "G", "D_ema", "D"],
        ["models.generator", "models.discriminator"],
        ["ema_model_state_dict", "model_state_dict", "optimizer_state_dict"],
        ["net_g-ema", "net_g", "net_d"],
        ["student", "teacher"],
        ["student", "teacher_ema"],
        ["gen", "discrim"],
        ["network", "opt.state.x"],
        ["net_g", "net_d1"],
    ],
)
def test_averaged_places_come_first_and_what_is_no_generators_last(places):
    assert sorted(reversed(places), key=state_dict.rank) == places


def test_what_stands_under_a_place_is_taken():
    tensors = {"a.b.x": 1, "a.bc.x": 2, "d": 3}
    assert state_dict.under(tensors, "a.b", ["a"]) == state_dict.under(tensors, "a.b.", ["a"]) == {"x": 1}
    with pytest.raises(InputError, match=r"^has nothing under 'e\\n'; it has 'a', 'd'\.$"):
        state_dict.under(tensors, "e\n", ["d", "a"])


def test_layers_in_a_row_are_no_groups():
    names = [f"{number}.{name}" for number in range(3) for name in ("weight", "bias")]
    assert found(*names) == [(names, ())]


def test_there_are_few_candidates_however_many_names_there_are():
    assert len(found(*(f"x{a}.y{b}" for a in range(1000) for b in range(3)))) < 40
    assert len(found(*("a." * 200 + name for name in NETWORK))) < 40
    assert found() == [([], ())]


@pytest.mark.parametrize("names", [["x" * 501], ["a\nb"], [str(n) for n in range(10_001)]])
def test_names_that_no_network_has_are_refused(names):
    with pytest.raises(InputError, match=r"^holds [^\n]*$"):
        state_dict.check_names(dict.fromkeys(names, 0))
