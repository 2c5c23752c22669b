"""CP over many shapes, ranks, weights and dtypes; corners; what must stay untouched."""
from itertools import permutations
import numpy as np
import pytest
import tensorly as tl
import torch
from tensorly.decomposition import parafac
from tensorly.tenalg import unfolding_dot_khatri_rao
from torch.utils._python_dispatch import TorchDispatchMode
from mrtl.core import ConfigError, DataError, generator
from mrtl.decompose import (RIDGE, Descent, als, canonical, column_norms, compress, cp_decompose, cp_start,
                            cp_tensor, effective_rank, factor_match, nonnegative_als, products, rebalance,
    relative_error)
from mrtl.grids import Grid

def draw(*shape, seed=0): return torch.randn(*shape, generator=generator(seed, 'test', *shape), dtype=torch.float64)
def factors(sizes, k, seed=0): return [draw(n, k, seed=seed+10*i) for i,n in enumerate(sizes)]
def weighted(W, G, weights):
    "Relative error by the definition, in the weighted norm."
    v = torch.ones(W.shape, dtype=torch.float64)
    for i,w in enumerate(weights or []):
        if w is not None: v = v*(w/w.sum()).reshape([-1 if j == i else 1 for j in range(W.ndim)])
    return ((v*(W-G)**2).sum()/(v*W**2).sum()).sqrt().item()

SHAPES = [((12,), 1), ((4,9), 3), ((9,4), 4), ((6,2,36), 3), ((36,6,2), 2), ((5,4,3,7), 3), ((1,6,1,20), 4),
          ((6,1,20), 2), ((1,1), 1), ((6,3,2000), 4), ((2000,3,6), 4), ((3,2,4,2,5), 2)]

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('sizes,k', SHAPES)
def test_planted_tensors_come_back(sizes, k, dtype):
    W = cp_tensor(factors(sizes, k)).to(dtype)
    cp = cp_decompose(W, k)
    assert [tuple(F.shape) for F in cp.factors] == [(n, cp.rank) for n in sizes] and cp.rank == effective_rank(sizes, k)
    assert all(F.dtype == dtype for F in cp.factors)
    assert cp.error < 1e-5
    assert weighted(W.double(), cp_tensor(cp.factors).double(), None) < 2e-5

@pytest.mark.parametrize('sizes,k', [((6,2,36), 3), ((6,3,200), 5), ((8,7,6), 4), ((5,4,3,7), 3)])
def test_no_worse_than_tensorly(sizes, k):
    W = cp_tensor(factors(sizes, k))+2*draw(*sizes)
    with tl.backend_context('pytorch', local_threadsafe=True):
        errors = [relative_error(W, parafac(W, k, init='random', random_state=s, n_iter_max=200).factors)
                  for s in range(4)]
    cp = cp_decompose(W, k)
    assert cp.error <= min(errors)+2e-3
    assert cp.error == pytest.approx(relative_error(W, cp.factors), abs=1e-7)

# Sweeps

@pytest.mark.parametrize('sizes', [(5,7), (5,4,6), (2,30,3), (30,2,3), (5,4,3,6), (3,2,4,2,5), (1,4,1)])
def test_products_are_tensorlys(sizes):
    W,cols = draw(*sizes),[F.T for F in factors(sizes, 3)]
    modes = []
    for i,M in products(W, cols):
        with tl.backend_context('pytorch', local_threadsafe=True):
            oracle = unfolding_dot_khatri_rao(W, (None, [c.T for c in cols]), i)
        assert torch.allclose(M, oracle.T, atol=1e-12, rtol=1e-12)
        cols[i] = cols[i].flip(0)+1
        modes.append(i)
    assert modes == list(range(len(sizes)))

@pytest.mark.parametrize('sizes,k', [((6,5,7), 3), ((5,4,3,6), 2), ((9,8,7), 6)])
def test_plain_sweeps_are_tensorlys(sizes, k):
    W = draw(*sizes); W /= W.norm()
    start = cp_start(W, k)
    with tl.backend_context('pytorch', local_threadsafe=True):
        oracle = parafac(W, k, n_iter_max=4, init=(None, [F.clone() for F in start]), tol=0, l2_reg=RIDGE)
    for F,G in zip(als(W, start, 4, 0), oracle.factors): assert torch.allclose(F, G, atol=1e-10)

@pytest.mark.parametrize('nonnegative', [(), (1,), (0,2), (0,1,2)])
def test_starts_side_by_side_go_their_own_ways(nonnegative):
    W = cp_tensor([F.abs() for F in factors((6,5,7), 2)])+draw(6, 5, 7); W /= W.norm()
    starts = [[F.abs() for F in cp_start(W, 3, 0, j)] for j in range(1, 4)]
    kept = [[F.clone() for F in s] for s in starts]
    found,errors = Descent(W, starts, nonnegative).run(12, 0)
    for s,k,f,e in zip(starts, kept, found, errors):
        alone,(error,) = Descent(W, [s], nonnegative).run(12, 0)
        assert e == pytest.approx(error, abs=1e-9) == pytest.approx(relative_error(W, f), abs=1e-9)
        assert all(torch.allclose(F, G, atol=1e-7) for F,G in zip(f, alone[0])) and all(torch.equal(F,
                G) for F,G in zip(s, k))
        assert all(f[i].min() >= 0 for i in nonnegative)

@pytest.mark.parametrize('nonnegative', [(0,), (0,2)])
def test_held_modes_through_a_core(nonnegative):
    W = cp_tensor([F.abs() for F in factors((60,3,5), 3)])+.3*draw(60, 3, 5); W /= W.norm()
    core,bases = compress(W)
    start = [F.abs() for F in cp_start(W, 3, 0, 1)]
    direct,short = nonnegative_als(W, start, nonnegative, 15, 0),nonnegative_als(core, start, nonnegative, 15, 0, bases)
    assert core.shape == (15,3,5) and all(torch.allclose(F, G, atol=1e-8) for F,G in zip(direct, short))

def test_a_wrong_sign_at_the_start_kills_no_component():
    "All starting columns are positive; what is to be found is negative in the free mode."
    A,B,C = (F.abs()+.1 for F in factors((9,8,10), 3))
    W = cp_tensor([A, B, -C]); W /= W.norm()
    for number in (1,2,3):
        assert relative_error(W, nonnegative_als(W, [F.abs() for F in cp_start(W, 3, 0, number)], (0,1), 400)) < .1

@pytest.mark.parametrize('nonnegative', [(), (0,), (0,1)])
def test_no_sweep_makes_it_worse(nonnegative):
    "Strides that overshoot are taken back."
    W = cp_tensor(factors((12,10,11), 4))+.3*draw(12, 10, 11); W /= W.norm()
    starts = [[F.abs() for F in cp_start(W, 4, 0, j)] for j in range(1, 4)]
    errors = torch.tensor([Descent(W, starts, nonnegative).run(n, 0)[1] for n in range(1, 50, 2)])
    assert (errors.diff(dim=0) < 1e-12).all()

def test_strides_save_sweeps():
    W = cp_tensor([F+2 for F in factors((12,10,11), 4)])+.1*draw(12, 10, 11); W /= W.norm()
    start = cp_start(W, 4, 0, 1)
    with tl.backend_context('pytorch', local_threadsafe=True):
        plain = parafac(W, 4, n_iter_max=120, init=(None, [F.clone() for F in start]), tol=0).factors
    assert relative_error(W, als(W, start, 60, 0)) < relative_error(W, plain)-1e-4

@pytest.mark.parametrize('nonnegative', [(), (0,), (0,1), (2,)])
def test_a_larger_noisy_tensor(nonnegative):
    """At least what tensorly finds in as many sweeps as it wants; what the starts reached is the true error, and
    none dies."""
    A,B,C = factors((60,40,50), 8)
    truth = [F.abs() if i in nonnegative else F for i,F in enumerate((A, B, C))]
    W = cp_tensor(truth)+3*draw(60, 40, 50)
    unit = W/W.norm()
    cp = cp_decompose(W, 8, nonnegative=nonnegative)
    with tl.backend_context('pytorch', local_threadsafe=True):
        other = relative_error(unit, parafac(unit, 8, init='svd', n_iter_max=200, tol=1e-8).factors)
    assert cp.error < other+(.01 if nonnegative else 1e-5)
    assert cp.error <= min(cp.starts) and max(cp.starts) < .9
    if not nonnegative:
        rough,cut = compress(unit, 16)
        first = als(rough, cp_start(rough, 8))
        assert cp.starts[0] == pytest.approx(relative_error(unit,
                [F if Q is None else Q@F for F,Q in zip(first, cut)]), abs=1e-7)

class Largest(TorchDispatchMode):
    "Remembers the largest tensor that any operation made."
    n = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple,list)) else [out]:
            if isinstance(t, torch.Tensor): self.n = max(self.n, t.untyped_storage().nbytes()//t.element_size())
        return out

@pytest.mark.parametrize('nonnegative', [(), (2,)])
@pytest.mark.parametrize('sizes', [(3,2,14400), (14400,3,2)])
def test_no_matrix_of_all_pairs(sizes, nonnegative):
    W = cp_tensor(factors(sizes, 3))+draw(*sizes)
    with Largest() as seen: cp_decompose(W, 3, nonnegative=nonnegative, sweeps=20)
    assert W.numel() <= seen.n <= 3*W.numel()

@pytest.mark.parametrize('rank', [13, 20, 500])
@pytest.mark.parametrize('sizes', [(6,2,36), (6,2,144), (3,4,60), (2,2,5), (40,3)])
def test_any_rank_works(sizes, rank):
    "tensorly's own `svd` start refuses several of these."
    cp = cp_decompose(draw(*sizes), rank)
    assert cp.rank == effective_rank(sizes, rank) and cp.error < .02
    assert all(F.isfinite().all() for F in cp.factors)

@pytest.mark.parametrize('rank', [0, -1, 2.5, 2.0, '3', None, True, float('nan')])
def test_rank_refused(rank):
    with pytest.raises(ConfigError, match='rank must be a whole number of at least 1'): effective_rank((6,2,36), rank)
    with pytest.raises(ConfigError, match='rank must be'): cp_decompose(draw(3, 4), rank)

def test_rank_may_be_numpy(): assert effective_rank((6,2,36), np.int64(20)) == 12

def test_too_many_components_for_a_simple_tensor():
    cp = cp_decompose(cp_tensor(factors((5,6,7), 1)), 5)
    assert cp.error < 1e-5 and all(F.isfinite().all() and F.abs().max() < 1e3 for F in cp.factors)

# Weights

OCEAN = Grid((6,8), (-20,60), (180,280), sphere=True, mask=torch.arange(48).reshape(6,8)%5 > 0)

@pytest.mark.parametrize('nonnegative', [(), (1,), (0,1)])
def test_land_has_no_say(nonnegative):
    W,v = draw(5, 48, 3),OCEAN.share.flatten()
    one,*others = (cp_decompose(W.where(v[:,None] > 0, f), 3, weights=[None, v, None], nonnegative=nonnegative)
                   for f in (0., 1e6, float('nan'), float('inf')))
    for two in others:
        for F,G in zip(one.factors, two.factors): assert torch.equal(F, G)
    assert (one.factors[1][v == 0] == 0).all()

@pytest.mark.parametrize('scale', [1., 7.])
def test_error_is_the_weighted_one(scale):
    W,weights = draw(5, 48, 3),[torch.tensor([1.,2,3,4,5]),OCEAN.area.flatten()*scale,None]
    cp = cp_decompose(W, 2, weights=weights)
    assert cp.error == pytest.approx(weighted(W, cp_tensor(cp.factors), weights), abs=1e-9)

def test_weighted_fit_cannot_be_improved():
    W,weights = draw(5, 48, 3),[None,OCEAN.share.flatten(),None]
    cp = cp_decompose(W, 2, weights=weights, sweeps=5000)
    for s in range(20):
        near = [F+1e-3*F.norm()*d/d.norm() for F,d in zip(cp.factors, factors((5,48,3), 2, seed=s+100))]
        assert weighted(W, cp_tensor(near), weights) > cp.error-1e-7
    assert cp.error < weighted(W, cp_tensor(cp_decompose(W, 2).factors), weights)

def test_a_weighted_matrix_is_its_svd():
    W,v = draw(48, 7),OCEAN.share.flatten()
    s = torch.linalg.svdvals(W*v.sqrt()[:,None])
    assert cp_decompose(W, 3, weights=[v, None]).error == pytest.approx((s[3:].norm()/s.norm()).item(), abs=1e-12)

def test_equal_weights_change_nothing():
    W = draw(5, 48, 3)
    plain,equal = cp_decompose(W, 2),cp_decompose(W, 2, weights=[None, torch.ones(48), None])
    assert plain.error == pytest.approx(equal.error, abs=1e-10)
    assert torch.allclose(cp_tensor(plain.factors), cp_tensor(equal.factors), atol=1e-6)

@pytest.mark.parametrize('weights,match',
                         [([None, None], 'as many weights'),
                          ([None, torch.ones(3), None], 'must be 4 numbers, got 3'),
                          ([None, torch.tensor([1.,-1,1,1]), None], '0 or more'),
    ([None, torch.zeros(4), None], 'not all 0'), ([None, torch.tensor([1.,float('nan'),1,1]), None], '0 or more')])
def test_weights_refused(weights, match):
    with pytest.raises(DataError, match=match): cp_decompose(draw(3, 4, 5), 2, weights=weights)

# Constraints

@pytest.mark.parametrize('nonnegative', [(0,), (1,), (2,), (0,1), (1,2), (0,1,2)])
@pytest.mark.parametrize('sizes', [(5,6,7), (4,3,60), (60,2,5), (6,1,8)])
def test_constrained_modes_stay_above_zero(sizes, nonnegative):
    Fs = [F.abs() if i in nonnegative else F for i,F in enumerate(factors(sizes, 2))]
    W = cp_tensor(Fs)+.1*draw(*sizes)
    free,cp = cp_decompose(W, 2),cp_decompose(W, 2, nonnegative=nonnegative)
    assert all(cp.factors[i].min() >= 0 for i in nonnegative)
    assert cp.error == pytest.approx(relative_error(W, cp.factors), abs=1e-9)
    assert free.error-1e-4 <= cp.error <= free.error+.03

@pytest.mark.parametrize('sizes', [(7,), (5,6)])
def test_constrained_vectors_and_matrices(sizes):
    W = draw(*sizes)
    cp = cp_decompose(W, 2, nonnegative=tuple(range(len(sizes))))
    assert all(F.min() >= 0 for F in cp.factors) and cp.error == pytest.approx(relative_error(W, cp.factors), abs=1e-9)
    if len(sizes) == 1: assert torch.allclose(cp.factors[0][:,0], W.clamp(min=0))

def test_nothing_positive_to_find():
    cp = cp_decompose(-draw(4, 5, 6).abs(), 2, nonnegative=(0,1,2))
    assert cp.error == pytest.approx(1) and all(F.isfinite().all() for F in cp.factors)

@pytest.mark.parametrize('kw,match', [(dict(nonnegative=(3,)), 'nonnegative names modes by number, 0 to 2'),
                                      (dict(nonnegative=('space',)), 'by number'),
                                      (dict(n_starts=0), 'n_starts must be at least 1')])
def test_options_refused(kw, match):
    with pytest.raises(ConfigError, match=match): cp_decompose(draw(3, 4, 5), 2, **kw)

# Input and state

@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_nan_refused(bad):
    W = draw(3, 4, 5)
    W[1,2,3] = bad
    with pytest.raises(DataError, match='1 NaN or infinite entries of 60'): cp_decompose(W, 2)

@pytest.mark.parametrize('W', [torch.tensor(3.), torch.zeros(0, 4)])
def test_nothing_to_decompose(W):
    with pytest.raises(DataError, match='a tensor to decompose needs'): cp_decompose(W, 2)

@pytest.mark.parametrize('nonnegative', [(), (1,)])
@pytest.mark.parametrize('sizes', [(8,), (6,5), (6,2,36), (6,3,300)])
def test_same_seed_same_bits_and_nothing_changed(sizes, nonnegative):
    if len(sizes) < 2: nonnegative = ()
    W,weights = draw(*sizes).requires_grad_(),[torch.rand(n, generator=generator(n)) for n in sizes]
    before,kept,state,backend = W.detach().clone(),[w.clone() for w in weights],torch.get_rng_state(),tl.get_backend()
    one,two = (cp_decompose(W, 3, weights=weights, seed=5, nonnegative=nonnegative) for _ in range(2))
    for F,G in zip(one.factors, two.factors): assert torch.equal(F, G) and not F.requires_grad
    assert (one.error, one.starts) == (two.error, two.starts)
    assert torch.equal(W.detach(), before) and all(torch.equal(a, b) for a,b in zip(weights, kept))
    assert torch.equal(torch.get_rng_state(),
                       state) and tl.get_backend() == backend and torch.get_default_dtype() == torch.float32

def test_tensorly_is_left_as_it_was(python):
    assert python("""
import threading, tensorly as tl, torch
from mrtl.decompose import cp_decompose
W = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0))
seen,done = set(),threading.Event()
def watch():
    while not done.is_set(): seen.add(tl.get_backend())
watcher = threading.Thread(target=watch)
watcher.start()
for held in ((), (0,)): cp_decompose(W, 3, nonnegative=held)
done.set(), watcher.join()
print(*seen, tl.get_backend())""") == 'numpy numpy'

def test_starts_are_left_alone():
    start = [F.abs() for F in factors((5,6,7), 2)]
    kept = [F.clone() for F in start]
    nonnegative_als(draw(5, 6, 7), start, (1,), 3)
    assert all(torch.equal(a, b) for a,b in zip(start, kept))

def test_another_seed_begins_elsewhere():
    a,b = (cp_start(draw(5, 6, 7), 3, s, 1) for s in (0,1))
    assert not torch.equal(a[0], b[0])

@pytest.mark.parametrize('k', [1, 3, 9])
def test_zeros(k):
    cp = cp_decompose(torch.zeros(4, 48, 3), k, weights=[None, OCEAN.share.flatten(), None], nonnegative=(0,))
    assert cp.error == 0 and cp.rank == k and all(F.isfinite().all() for F in cp.factors)
    assert (0 < cp_tensor(cp.factors).abs().max() < 1e-6 and cp.factors[0].min() >= 0
            and (cp.factors[1][~OCEAN.mask.flatten()] == 0).all())

@pytest.mark.parametrize('W', [np.arange(24.).reshape(2,3,4), torch.arange(24).reshape(2,3,4)])
def test_arrays_and_integers(W):
    cp = cp_decompose(W, 3)
    assert cp.factors[0].dtype == torch.float64 and cp.error < 1e-5

@pytest.mark.parametrize('scale', [1e-12, 1e-4, 1e8])
def test_scale_does_not_matter(scale):
    W = draw(5, 6, 7)
    assert cp_decompose(W*scale, 3).error == pytest.approx(cp_decompose(W, 3).error, abs=1e-9)

def test_strongest_first_and_balanced():
    cp = cp_decompose(draw(5, 6, 7), 4)
    norms = torch.stack([F.norm(dim=0) for F in cp.factors])
    assert torch.allclose(norms, norms[:1].expand(3, -1)) and (norms[0].diff() <= 0).all()

@pytest.mark.parametrize('sizes', [(6,3,400), (400,3,6), (2,300,2), (7,300)])
def test_compress_keeps_all(sizes):
    W = draw(*sizes)
    core,bases = compress(W)
    assert core.numel() < W.numel() and core.norm() == pytest.approx(W.norm().item())
    for i,Q in enumerate(bases):
        if Q is not None:
            core = (Q@core.movedim(i, 0).flatten(1)).reshape(-1, *core.movedim(i, 0).shape[1:]).movedim(0, i)
    assert torch.allclose(core, W, atol=1e-10)

# Many faces

@pytest.mark.parametrize('spatial', [(False,)*3, (False,True,True), (True,)*3])
@pytest.mark.parametrize('use', [True, False])
def test_rebalance(spatial, use):
    Fs = [F*s for F,s in zip(factors((5,48,3), 4), (1e-3,10.,1.))]
    Fs[1][:,2] = 0
    weights = [None, OCEAN.share, None] if use else None
    even = rebalance(Fs, weights, spatial)
    assert torch.allclose(cp_tensor(even), cp_tensor(Fs), atol=1e-12)
    norms = torch.stack([column_norms(F, (OCEAN.share.flatten() if use and i == 1 else None), spatial[i])
                         for i,F in enumerate(even)])
    assert torch.allclose(norms[:,[0,1,3]], norms[:1,[0,1,3]].expand(3, -1)) and all(F.isfinite().all() for F in even)
    for F,G in zip(rebalance(even, weights, spatial), even): assert torch.allclose(F, G)

def test_areas_do_for_shares():
    Fs = factors((5,48,3), 4)
    share,area = ([None, v, None] for v in (OCEAN.share, OCEAN.area*7))
    for F,G in zip(rebalance(Fs, share), rebalance(Fs, area)): assert torch.allclose(F, G)
    (s,one),(t,two) = (canonical(Fs, v) for v in (share, area))
    assert torch.allclose(s, t) and all(torch.allclose(a, b) for a,b in zip(one, two))

@pytest.mark.parametrize('weights', [None, [None, OCEAN.share.flatten(), None]])
@pytest.mark.parametrize('spatial', [None, (False,True,False), (True,True,True)])
def test_one_model_has_one_canonical_form(weights, spatial):
    Fs = factors((5,48,3), 4)
    order,flip,stretch = torch.tensor([2,0,3,1]),torch.tensor([1.,-1,-1,1]).double(),torch.tensor([.1,3,7,2]).double()
    disguised = [(Fs[0]*flip*stretch)[:,order], (Fs[1]*flip/stretch)[:,order], Fs[2][:,order]]
    (s,one),(t,two) = (canonical(F, weights, spatial) for F in (Fs, disguised))
    assert torch.allclose(s, t) and all(torch.allclose(a, b) for a,b in zip(one, two))
    assert (s.abs().diff() <= 0).all() and torch.allclose(cp_tensor([one[0]*s, *one[1:]]), cp_tensor(Fs))
    u,again = canonical([one[0]*s, *one[1:]], weights, spatial)
    assert torch.allclose(u, s) and all(torch.allclose(a, b) for a,b in zip(one, again))

def peaks(F): return F.gather(0, F.abs().argmax(0, keepdim=True))[0]

def test_where_the_sign_goes():
    Fs,share = factors((5,48,3), 4),OCEAN.share.flatten()
    s,U = canonical(Fs, [None, share, None])
    assert (s >= 0).all() and (peaks(U[1]*(share > 0)[:,None]) > 0).all() and (peaks(U[2]) > 0).all()
    s,U = canonical(Fs, [None, share, None], nonnegative=(0,))
    assert (s >= 0).all() and (peaks(U[0]) > 0).all() and (peaks(U[1]*(share > 0)[:,None]) > 0).all()
    s,U = canonical(Fs, spatial=(True,)*3)
    assert all((peaks(F) > 0).all() for F in U) and (s < 0).any()

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_canonical_with_dead_components(dtype):
    Fs = [F.to(dtype) for F in factors((5,6,3), 3)]
    Fs[0][:,1],Fs[1][:,2],Fs[2][:,2] = 0,0,0
    s,U = canonical(Fs)
    assert all(F.isfinite().all() and F.dtype == dtype
               for F in U) and (s != 0).tolist() == [True,False,False] and s.dtype == dtype

@pytest.mark.parametrize('k', [1, 2, 3, 4])
def test_factor_match_is_the_best_of_all_pairings(k):
    F,G = factors((5,6,3), k),factors((5,6,3), k, seed=1)
    cos = [[np.prod([abs(float(f[:,i]@g[:,j]/f[:,i].norm()/g[:,j].norm())) for f,g in zip(F, G)])
            for j in range(k)] for i in range(k)]
    assert factor_match(F, G) == pytest.approx(max(np.mean([cos[i][j] for i,j in enumerate(p)])
                                                   for p in permutations(range(k))))
    assert factor_match(F, G) == pytest.approx(factor_match(G, F))

def test_factor_match_corners():
    F = factors((5,48,3), 3)
    assert factor_match(F, F) == pytest.approx(1)
    assert factor_match([f.numpy() for f in F], [f.float() for f in F]) == pytest.approx(1)
    assert factor_match(F, [f[:,:2]
                            for f in F]) == pytest.approx(2/3) == pytest.approx(factor_match([f[:,:2] for f in F], F))
    dead = [f.clone() for f in F]
    dead[0][:,1] = 0
    assert factor_match(F, dead) == pytest.approx(2/3)
    land = [F[0], F[1]+1e3*(~OCEAN.mask).flatten()[:,None], F[2]]
    assert factor_match(F, land, [None, OCEAN.share, None]) == pytest.approx(1) and factor_match(F, land) < .9

def test_factors_refused():
    with pytest.raises(DataError, match='modes of the same sizes'): factor_match(factors((5,6), 2), factors((5,7), 2))
    with pytest.raises(DataError, match='as many columns'): canonical([draw(3, 2), draw(4, 3)])

@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_gives_the_same_bits():
    W,weights = draw(6, 48, 3),[None, OCEAN.share.flatten(), None]
    here,there = cp_decompose(W, 3, weights=weights),cp_decompose(W.cuda(), 3, weights=[None, weights[1].cuda(), None])
    for F,G in zip(here.factors, there.factors): assert G.is_cuda and torch.equal(F, G.cpu())
