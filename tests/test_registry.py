"""Generators are found through entry points; a stranger's package can be faulty in any way."""

import pytest
from synthgen_trees import Trees

from synthgen import registry
from synthgen.errors import SynthgenError

GOOD = '''"""A generator of nothing.
In one sentence.

More that is not shown.
"""
from synthgen import Generator

class Nothing(Generator):
    """Nothing."""

class NoGenerator:
    """Something else."""

number = 3
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a fake distribution with one generator: a folder of metadata and a module."""

    def put(distribution, name, value, source=GOOD):
        site = tmp_path / distribution
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[synthgen.generators]\n{name} = {value}\n")
        module = value.split(":")[0]
        (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)

    return put


def test_own_generators_are_found_by_name():
    assert {"autoregressive", "gmm", "trees"} <= registry.available().keys()
    assert registry.distribution(registry.available()["trees"]) == "synthgen-toolkit"
    assert registry.load("trees") is Trees


def test_names_come_in_order():
    assert list(registry.available()) == sorted(registry.available())


def test_a_strangers_generator_is_found_and_loaded(install):
    install("fake_good", "nothing", "fake_good_module:Nothing")
    point = registry.available()["nothing"]
    assert registry.distribution(point) == "fake_good"
    assert registry.load("nothing").__name__ == "Nothing"


def test_it_is_described_by_the_first_paragraph_of_its_module(install):
    install("fake_good", "nothing", "fake_told_module:Nothing")
    assert registry.about(registry.available()["nothing"]) == "A generator of nothing. In one sentence."


def test_describing_a_module_does_not_run_it(install):
    install("fake_loud", "loud", "fake_loud_module:Loud", '"""Quiet."""\nraise RuntimeError("ran")\n')
    assert registry.about(registry.available()["loud"]) == "Quiet."


@pytest.mark.parametrize("source", ["def broken(:\n", "x = '\0'\n"], ids=["syntax", "zero"])
def test_a_module_that_cannot_be_parsed_is_described_as_such(install, source):
    install("fake_broken", "broken", "fake_broken_module:X", source)
    assert registry.about(registry.available()["broken"]) == "its module cannot be read"


def test_a_module_that_is_not_there_has_no_description(install):
    install("fake_absent", "absent", "fake_absent_module:X", "")
    absent = registry.available()["absent"]
    point = type(absent)(absent.name, "synthgen_no_such_module:X", absent.group)
    assert registry.about(point) in ("", "its module cannot be read")


def test_an_unknown_name_is_refused_and_the_near_one_offered():
    with pytest.raises(SynthgenError, match="no generator is called 'tree'; did you mean 'trees'"):
        registry.load("tree")
    with pytest.raises(SynthgenError, match=r"known: .*'gmm'"):
        registry.load("zzzzzz")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import no_such_package_anywhere\n", "ModuleNotFoundError: No module named 'no_such_package_anywhere'"),
        ("raise ValueError('out of order')\n", "ValueError: out of order"),
        ("def broken(:\n", "SyntaxError"),
        ("", "AttributeError"),
    ],
    ids=["missing", "raising", "syntax", "empty"],
)
def test_a_module_that_fails_to_import_names_its_package(install, request, source, complaint):
    module = f"fake_failing_{request.node.callspec.id}"
    install("fake_failing", "failing", f"{module}:Failing", source)
    with pytest.raises(SynthgenError, match=f"'failing' of package fake_failing fails to import: {complaint}"):
        registry.load("failing")


def test_a_faulty_stranger_does_not_hinder_the_others(install):
    install("fake_failing", "failing", "fake_failing_other:Failing", "raise ValueError\n")
    assert registry.load("trees") is Trees


@pytest.mark.parametrize("thing", ["NoGenerator", "number"])
def test_what_is_no_generator_is_refused(install, thing):
    install("fake_odd", "odd", f"fake_odd_module:{thing}")
    with pytest.raises(SynthgenError, match=f"fake_odd_module:{thing}, registered as 'odd', is no synthgen.Generator"):
        registry.load("odd")


def test_two_packages_that_claim_one_name_are_both_named(install):
    install("fake_one", "same", "fake_one_module:Nothing")
    install("fake_two", "same", "fake_two_module:Nothing")
    with pytest.raises(SynthgenError, match="call a generator 'same'") as error:
        registry.available()
    for name in ("fake_one", "fake_two", "uninstall one"):
        assert name in str(error.value)


def test_a_stranger_may_not_take_the_name_of_an_own_generator(install):
    install("fake_thief", "trees", "fake_thief_module:Nothing")
    with pytest.raises(SynthgenError, match="two packages call a generator 'trees'") as error:
        registry.load("gmm")
    assert "synthgen-toolkit" in str(error.value)
    assert "fake_thief" in str(error.value)


def test_one_distribution_seen_twice_is_no_clash(install, tmp_path, monkeypatch):
    install("fake_good", "nothing", "fake_twice_module:Nothing")
    monkeypatch.syspath_prepend(tmp_path / "fake_good" / ".." / "fake_good")
    assert "nothing" in registry.available()
