"""The fast penalty against the formula, over grids, kernels, dtypes and layouts; memory; corners."""
import copy, math, pickle
import numpy as np
import pytest
import torch
from mrtl.core import ConfigError, DataError, generator
from mrtl.grids import Grid
from mrtl.penalties import Smoothness, weighted_l1, weighted_l2

KERNELS = ['gaussian', 'exponential']
def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=generator('test', *shape), dtype=torch.float64).to(dtype)
def holes(h, w): return (torch.arange(h*w).reshape(h, w)*7)%5 > 1

GRIDS = dict(plain=Grid((6,7)), stretched=Grid((5,8), (0,50), (-3,3)), masked=Grid((6,7), mask=holes(6,7)),
             sphere=Grid((8,5), (-80,40), (100,250), sphere=True),
    ocean=Grid((7,9), (-60,30), (100,280), sphere=True, mask=holes(7,9)), row=Grid((1,11)), column=Grid((9,1)),
    cell=Grid((1,1)), pair=Grid((1,2)), nearly=Grid((6,7), area=1+1e-6*torch.sin(torch.arange(42.))),
    coarsened=Grid((12,14), mask=holes(12,14)).coarsen((5,6)))

def plain(B, grid, sigma, kernel):
    "The definition, pair by pair."
    y,x = np.meshgrid(grid.y_centres, grid.x_centres, indexing='ij')
    d = torch.from_numpy(np.hypot(y.ravel()[:,None]-y.ravel(), x.ravel()[:,None]-x.ravel()))/grid.diagonal
    K = (-d**2/(2*sigma**2)).exp() if kernel == 'gaussian' else (-d/sigma).exp()
    v,b = grid.share.flatten(),B.reshape(-1, grid.D)
    return (v[:,None]*v*K*(b[:,:,None]-b[:,None,:])**2).sum()

@pytest.mark.parametrize('sigma', [.05, .2, 3.])
@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('name', GRIDS)
def test_fast_is_plain(name, kernel, sigma):
    grid = GRIDS[name]
    smooth,B = Smoothness(grid, sigma, kernel),draw(3, *grid.shape).requires_grad_()
    slow,fast = plain(B, grid, smooth.sigma, kernel),smooth(B)
    assert fast.item() == pytest.approx(slow.item(), abs=1e-10) and fast >= 0
    g,h = (torch.autograd.grad(2.5*r, B)[0] for r in (slow,fast))
    assert (g-h).abs().max() < 1e-10

@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('shape', [(4,9), (5,13), (11,21), (17,3), (31,37)])
def test_no_shape_wraps_around(shape, kernel):
    "Lengths that FFT must pad, odd, even and prime."
    smooth,B = Smoothness(shape, .4, kernel),draw(2, *shape)
    assert smooth(B).item() == pytest.approx(plain(B, Grid(shape), .4, kernel).item(), rel=1e-11)

@pytest.mark.parametrize('kernel', KERNELS)
def test_gradcheck(kernel):
    assert torch.autograd.gradcheck(Smoothness(GRIDS['ocean'], .1, kernel), draw(2, 7, 9).requires_grad_())

@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('lead', [(), (1,), (4,), (2,3), (2,1,3)])
def test_any_leading_axes(lead, kernel):
    smooth,B = Smoothness(GRIDS['ocean'], .1, kernel),draw(*lead, 7, 9)
    each = sum(smooth(b) for b in B.reshape(-1, 7, 9))
    for form in (B, B.flatten(-2), B.flatten(-2).movedim(-1, 0).contiguous().movedim(0, -1)):
        form = form.clone(memory_format=torch.preserve_format).requires_grad_()
        assert smooth(form).item() == pytest.approx(each.item(), rel=1e-12)
        smooth(form).backward()
        assert form.grad.shape == form.shape

@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('dtype,tol', [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)])
def test_lower_precision(dtype, tol, kernel):
    smooth,B = Smoothness((20,25), .05, kernel),draw(4, 20, 25)
    exact,b = smooth(B),B.to(dtype).requires_grad_()
    rough = smooth(b)
    rough.backward()
    assert rough.dtype == dtype == b.grad.dtype and rough.item() == pytest.approx(exact.item(), rel=tol)
    assert smooth(B) == exact  # the table made for float32 is not used for float64

def test_a_large_mean_costs_no_digits():
    smooth,B = Smoothness((40,50), .05),torch.linspace(0, 1, 2000, dtype=torch.float64).reshape(40, 50)
    assert smooth((B+1000).float()).item() == pytest.approx(smooth(B).item(), rel=1e-3)
    assert smooth(B+1000).item() == pytest.approx(smooth(B).item(), rel=1e-9)

def waves(grid):
    y,x = ((torch.arange(n, dtype=torch.float64)+.5)/n for n in grid.shape)
    return torch.sin(2*math.pi*y)[:,None]*torch.cos(math.pi*x)+.5*torch.cos(2*math.pi*x)+y[:,None]

@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('kind', [dict(), dict(y=(-20,60), x=(180,260), sphere=True)])
def test_means_the_same_at_every_resolution(kind, kernel):
    costs = [Smoothness(g, .05, kernel)(waves(g)).item()
             for g in (Grid(s, **kind) for s in ((20,25),(40,50),(80,100),(160,200)))]
    assert max(costs)/min(costs) < 1.002 and costs[0] > 1e-3

@pytest.mark.parametrize('kernel', KERNELS)
def test_means_the_same_with_a_coast(kernel):
    fine = Grid((80,100), mask=torch.hypot(torch.arange(80)[:,None]-20., torch.arange(100)-60.) > 15)
    costs = [Smoothness(g, .05, kernel)(waves(g)).item() for g in (fine, fine.coarsen((40,50)), fine.coarsen((20,25)))]
    assert max(costs)/min(costs) < 1.02

@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('fill', [0., 1e8, float('nan'), float('inf')])
def test_land_has_no_say(fill, kernel):
    grid,B = GRIDS['ocean'],draw(2, 7, 9)
    smooth,filled = Smoothness(grid, .1, kernel),B.where(grid.mask, fill).requires_grad_()
    assert smooth(filled) == smooth(B.where(grid.mask, 0.))
    smooth(filled).backward()
    assert filled.grad.isfinite().all() and (filled.grad[:,~grid.mask] == 0).all()

@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('name', GRIDS)
def test_constants_are_free(name, kernel):
    B = torch.full((2,*GRIDS[name].shape), 5., dtype=torch.float64).requires_grad_()
    cost = Smoothness(GRIDS[name], .1, kernel)(B)
    cost.backward()
    assert 0 <= cost < 1e-20 and B.grad.abs().max() < 1e-12

def test_nan_at_sea_is_not_hidden(): assert Smoothness((3,4))(torch.full((3,4), float('nan'))).isnan()

@pytest.mark.parametrize('kernel', KERNELS)
def test_a_fine_grid_needs_little_memory(kernel, python):
    "200,000 cells: the matrix of pairs would take 320 GB."
    grown = python(f"""
import torch
from mrtl.penalties import Smoothness
from mrtl.lab.timing import peak_of
B = torch.randn(2, 400, 500, generator=torch.Generator().manual_seed(0), requires_grad=True)
Smoothness((40,50), .05, {kernel!r})(torch.randn(2, 40, 50, requires_grad=True)).backward()
def cost(): Smoothness((400,500), .05, {kernel!r})(B).backward()
grown = peak_of(cost, {{}})
assert B.grad.isfinite().all()
print(grown)""")
    assert 3_200_000 <= int(grown) < 200_000_000  # bytes: at least the gradient itself

@pytest.mark.parametrize('shape,extent,cell',
                         [((4,5), {}, 1/math.hypot(4,5)), ((10,10), dict(y=(0,1), x=(0,3)), .3/math.hypot(1,3)),
                          ((1,1), {}, 1/math.sqrt(2))])
def test_sigma_is_raised_to_one_cell(shape, extent, cell):
    grid = Grid(shape, **extent)
    low,high = Smoothness(grid, cell/3),Smoothness(grid, cell*1.5)
    assert low.raised and low.sigma == pytest.approx(cell) and 'raised to one cell' in repr(low)
    assert not high.raised and high.sigma == cell*1.5 and 'raised' not in repr(high)
    assert not Smoothness(grid, low.sigma).raised

def test_a_shape_is_a_plain_grid():
    B = draw(3, 6, 7)
    assert Smoothness((6,7))(B) == Smoothness(Grid((6,7)))(B) == Smoothness(Grid((6,7), (0,60), (0,70)))(B)

def test_scales_with_the_square():
    smooth,B = Smoothness((6,7), .2),draw(6, 7)
    assert smooth(3*B).item() == pytest.approx(9*smooth(B).item())
    assert smooth(B.flip(0)).item() == pytest.approx(smooth(B).item())

def test_a_rougher_map_costs_more():
    x = torch.linspace(0, math.pi, 50, dtype=torch.float64)
    costs = [Smoothness((40,50))(torch.cos(m*x).expand(40, 50)).item() for m in (1,2,4,8,16)]
    assert costs == sorted(costs)

@pytest.mark.parametrize('kernel', KERNELS)
def test_copies_and_pickles(kernel):
    smooth,B = Smoothness(GRIDS['ocean'], .1, kernel),draw(2, 7, 9)
    smooth(B)
    assert copy.deepcopy(smooth)(B) == pickle.loads(pickle.dumps(smooth))(B) == smooth(B)

def test_input_is_left_alone():
    B = draw(2, 7, 9)
    kept = B.clone()
    Smoothness(GRIDS['ocean'])(B.requires_grad_()).backward()
    assert torch.equal(B.detach(), kept)

def test_value_and_laplacian_needs_no_autograd():
    smooth,B = Smoothness(GRIDS['ocean'], .1),draw(2, 7, 9).requires_grad_()
    value,L = smooth.value_and_laplacian(B)
    smooth(B).backward()
    assert not L.requires_grad and torch.equal(2*L,
                                               B.grad) and value.item() == pytest.approx((B.detach()*L).sum().item())

def test_second_derivatives_are_refused():
    B = draw(2, 6, 7).requires_grad_()
    g, = torch.autograd.grad(Smoothness((6,7))(B)**2, B, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'): g.sum().backward()

@pytest.mark.parametrize('sigma', [0, -1, float('nan'), float('inf'), 'wide', None])
def test_sigma_refused(sigma):
    with pytest.raises(ConfigError, match='sigma must be a number above 0'): Smoothness((6,7), sigma)

def test_kernel_refused():
    with pytest.raises(ConfigError, match="unknown kernel 'matern'"): Smoothness((6,7), kernel='matern')

@pytest.mark.parametrize('shape', [(7,6), (2,6,8), (41,), (), (42,2)])
def test_maps_of_another_grid_refused(shape):
    with pytest.raises(DataError, match=r'maps must end in \(6, 7\) or in 42 cells'):
        Smoothness((6,7))(torch.zeros(shape))

def test_integers_refused():
    with pytest.raises(DataError, match='floating-point'): Smoothness((6,7))(torch.zeros(6, 7, dtype=torch.int64))

# Size

@pytest.mark.parametrize('size,power', [(weighted_l2, 2), (weighted_l1, 1)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_size_averages_and_sums(size, power, dtype):
    B,v,u = draw(3, 63, 42, dtype=dtype).requires_grad_(),GRIDS['ocean'].share,GRIDS['plain'].share
    x = B.detach().double().abs()**power
    tol = dict(rel=1e-5 if dtype == torch.float32 else 1e-12)
    assert size(B, [None]*3).item() == pytest.approx(x.sum().item(), **tol)
    assert size(B, [None, None, u]).item() == pytest.approx((x@u.flatten()).sum().item(), **tol)
    total = size(B, [None, v, u])
    assert total.dtype == dtype and total.item() == pytest.approx(torch.einsum('pcd,c,d->', x, v.flatten(),
            u.flatten()).item(), **tol)
    total.backward()
    assert (B.grad[:,~GRIDS['ocean'].mask.flatten()] == 0).all()

def test_shares_of_another_grid_refused():
    with pytest.raises(DataError, match='an axis of 63 entries needs as many shares, got 42'):
        weighted_l2(draw(3, 63), [None, GRIDS['plain'].share])

@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('kernel', KERNELS)
def test_gpu_agrees(kernel):
    smooth,B = Smoothness(GRIDS['ocean'], .1, kernel),draw(2, 7, 9)
    here,there = B.clone().requires_grad_(),B.cuda().requires_grad_()
    a,b = smooth(here),smooth(there)
    a.backward(), b.backward()
    assert b.is_cuda and b.item() == pytest.approx(a.item(),
                                                   rel=1e-10) and torch.allclose(there.grad.cpu(), here.grad,
            atol=1e-12)

@pytest.mark.parametrize('kernel', list(KERNELS))
def test_maps_in_any_memory_order(kernel):
    "Maps that are views of a transposed tensor, as a full-rank tensor with several outputs gives them."
    grid = Grid((3,5))
    B = torch.randn(15, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).T
    R = Smoothness(grid, .2, kernel)
    assert not B.is_contiguous() and R(B).item() == pytest.approx(R(B.contiguous()).item(), rel=1e-12)
