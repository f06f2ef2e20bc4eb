import torch

from slam_plugin.modules.rotary import rotary_angles, rotate

SIZE = 16


def turned(x, positions):
    """Return vectors x (time, size), rotated by their positions."""
    return rotate(x[None, None], rotary_angles(positions, SIZE))[0, 0]


def test_each_pair_of_channels_is_a_complex_number_times_a_rotation():
    torch.manual_seed(0)
    x, positions = torch.randn(7, SIZE, dtype=torch.float64), torch.tensor([0, 1, 2, 5, 40, 300, 2000])
    found = turned(x.float(), positions).double()
    for t, position in enumerate(positions.tolist()):
        for i in range(SIZE // 2):
            angle = position * 10000.0 ** (-2 * i / SIZE)
            number = complex(x[t, 2 * i], x[t, 2 * i + 1]) * torch.exp(torch.tensor(1j * angle, dtype=torch.cdouble))
            # fp32 angles of up to 2000 are good to 1e-4
            assert abs(number.real - found[t, 2 * i]) < 1e-3 and abs(number.imag - found[t, 2 * i + 1]) < 1e-3


def test_products_depend_on_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(1, SIZE), torch.randn(1, SIZE)
    for distance in (0, 1, 3, 17):
        products = [
            (turned(query, torch.tensor([begin])) * turned(key, torch.tensor([begin + distance]))).sum()
            for begin in (0, 1, 10, 123)
        ]
        torch.testing.assert_close(torch.stack(products), products[0].expand(4), rtol=1e-4, atol=1e-4)
    near, far = (
        (turned(query, torch.tensor([0])) * turned(key, torch.tensor([distance]))).sum() for distance in (1, 17)
    )
    assert abs(near - far) > 0.1


def test_lengths_and_types_are_kept():
    torch.manual_seed(0)
    x = torch.randn(5, SIZE)
    positions = torch.arange(5)
    torch.testing.assert_close(turned(x, positions).norm(dim=-1), x.norm(dim=-1))
    assert turned(x.bfloat16(), positions).dtype == torch.bfloat16
    assert torch.equal(turned(x, torch.zeros(5, dtype=torch.long)), x)


def test_gradients_are_turned_back():
    """A rotation is orthogonal: its gradient is the rotation by the opposite angles."""
    torch.manual_seed(0)
    rotation = rotary_angles(torch.tensor([0, 3, 700]), SIZE)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        # the layout of a layer: heads are taken from the middle of a tensor
        x = torch.randn(2, 3, 4, SIZE).to(dtype).transpose(1, 2).requires_grad_()
        direction = torch.randn(x.shape).to(dtype)
        (gradient,) = torch.autograd.grad(rotate(x, rotation), x, direction)
        assert gradient.dtype == dtype
        expected = rotate(direction.float(), rotation.conj())
        assert (gradient.float() - expected).norm() <= tolerance * expected.norm()
    doubles = torch.randn(2, 1, 3, SIZE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotation.to(torch.cdouble)), doubles)
