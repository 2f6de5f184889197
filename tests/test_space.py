import pytest
import torch

from synthgen.space import EMPTY, Space

MIXED = Space((4,), (0, 3, 2, 0), (True, False, False, True))


def test_widths_count_one_per_real_and_k_per_code():
    assert MIXED.widths == (1, 3, 2, 1)
    assert MIXED.width == 7


def test_embed_writes_codes_as_one_hot_blocks():
    x = torch.tensor([[-1.5, 2, 0, 9], [0.25, 0, 1, -7]])
    expected = torch.tensor([[-1.5, 0, 0, 1, 1, 0, 9], [0.25, 1, 0, 0, 0, 1, -7]])
    assert torch.equal(MIXED.embed(x), expected)


def test_collapse_takes_the_largest_entry_of_a_block():
    y = torch.tensor([[0.5, 0.1, 0.7, 0.2, -3, -2, 4]])
    assert torch.equal(MIXED.collapse(y), torch.tensor([[0.5, 1, 1, 4]]))


def test_collapse_undoes_embed():
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(0, k, (200,), generator=generator).float() for k in (3, 2)]
    reals = [torch.randn(200, generator=generator) for _ in range(2)]
    x = torch.stack([reals[0], *codes, reals[1]], dim=1)
    assert torch.equal(MIXED.collapse(MIXED.embed(x)), x)


def test_embed_undoes_collapse_on_one_hot_blocks():
    y = torch.cat([torch.eye(3), torch.eye(2)[[0, 1, 1]]], dim=1)
    space = Space((2,), (3, 2), (False, False))
    assert torch.equal(space.embed(space.collapse(y)), y)


def test_a_table_of_reals_embeds_as_itself():
    space = Space((3,), (0, 0, 0), (True, True, True))
    x = torch.arange(6.0).reshape(2, 3)
    assert space.width == 3
    assert torch.equal(space.embed(x), x)
    assert torch.equal(space.collapse(x), x)


def test_an_image_is_flattened_and_comes_back():
    space = Space((3, 4, 5))
    x = torch.arange(120.0).reshape(2, 3, 4, 5)
    assert space.widths == (60,)
    assert space.width == 60
    assert torch.equal(space.embed(x), x.reshape(2, 60))
    assert torch.equal(space.collapse(space.embed(x)), x)


def test_the_empty_space_has_no_width():
    x = torch.zeros(5, 0)
    assert EMPTY.width == 0
    assert EMPTY.embed(x).shape == (5, 0)
    assert EMPTY.collapse(x).shape == (5, 0)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_records_keep_their_shape(rows):
    x = torch.zeros(rows, 4)
    assert MIXED.embed(x).shape == (rows, 7)
    assert MIXED.collapse(MIXED.embed(x)).shape == (rows, 4)


def test_a_code_out_of_range_embeds_as_zeros():
    space = Space((1,), (3,), (False,))
    assert torch.equal(space.embed(torch.tensor([[-1.0], [3.0]])), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("sizes", "order"),
    [((0, 3, 2, 0), [2, 0, 1, 3]), ((2, 5, 2), [0, 2, 1]), ((4, 3, 0), [0, 1, 2]), ((), [])],
)
def test_order_puts_two_valued_columns_first_and_is_stable(sizes, order):
    assert Space((len(sizes),), sizes, (False,) * len(sizes)).order == order


@pytest.mark.parametrize(
    ("shape", "sizes", "ordered"),
    [((2,), (0,), (True, True)), ((2,), (0, 0), (True,)), ((1,), (), ()), ((1,), (0, 0), (True, True))],
)
def test_a_table_without_an_entry_per_column_is_refused(shape, sizes, ordered):
    with pytest.raises(ValueError, match="as many entries in sizes and ordered"):
        Space(shape, sizes, ordered)


def test_embed_keeps_the_dtype():
    assert MIXED.embed(torch.zeros(2, 4, dtype=torch.float64)).dtype == torch.float64


def test_embed_works_under_vmap():
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 2, (6, 5, 4), generator=generator).float()
    expected = torch.stack([MIXED.embed(part) for part in x])
    assert torch.equal(torch.func.vmap(MIXED.embed)(x), expected)


def test_spaces_of_equal_columns_are_equal():
    same = Space((4,), (0, 3, 2, 0), (True, False, False, True))
    assert same == MIXED
    assert hash(same) == hash(MIXED)
