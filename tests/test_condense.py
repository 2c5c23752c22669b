"Components of maps: masks, areas, units, outputs, modes of one entry, many rows and weights of nothing."
from copy import deepcopy
import numpy as np, pytest, torch
from mrtl.decompose import cp_decompose, cp_tensor
from mrtl.designs import FieldDesign, Mode
from mrtl.evidence.condense import MOST, by_place, carries, condense, in_order, map_components, rescaled, turned
from mrtl.grids import Grid
from mrtl.models import FullRank, LowRank

MASK = np.ones((4,6), bool); MASK[1,2] = MASK[3,0] = False
GLOBE = Grid((4,6), (0,80), (0,60), ('lat','lon'), sphere=True, mask=MASK) # rows of unequal area, two cells of land
SHARE = GLOBE.share.flatten(); SEEN = SHARE>0
SPACE = Mode('space', 24, GLOBE)
def made(*sizes, seed=0): return torch.from_numpy(np.random.default_rng(seed).normal(size=sizes))
def maps(k, seed=1): return made(24, k, seed=seed)*SEEN[:,None]
def close(a, b, tol=1e-9): torch.testing.assert_close(a, b, rtol=tol, atol=tol*float(b.abs().max() or 1.))
def strengths(low): return np.prod([(f.detach().square()*(SHARE[:,None] if len(f)==24 else 1/len(f))).sum(0).sqrt()
                                    for f in low.factors], 0)

# each is exact with as many components as it was made of, in the shape and order of the model
CASES = dict(map=((), 1), one=((1,), 1), matrix=((3,), 1), one_wide=((1,3), 1), wide_one=((3,1), 1), outputs=((), 2),
             one_outputs=((1,), 2), both=((3,), 2), cube=((3,2), 1))

@pytest.mark.parametrize('places', [True, False])
@pytest.mark.parametrize('case', CASES)
def test_all_components_give_all_weights(case, places):
    sizes,outputs = CASES[case]; k = 2 if case not in ('map','one') else 1
    modes = [*(Mode(f'm{i}', n) for i,n in enumerate(sizes)), SPACE]
    factors = [*(made(n, k, seed=i+2) for i,n in enumerate(sizes)), maps(k)]
    if outputs>1: factors.append(made(2, k, seed=9))
    W = cp_tensor(factors); low = map_components(W, modes, outputs, 5 if case!='cube' and case!='both' else 2, places)
    assert low.rank==k and low.outputs==outputs and all(p.dtype==torch.float64 for p in low.parameters())
    # a decomposition of three wide modes is iterative
    close(low.full().detach().reshape(W.shape), W, 1e-9 if low.rank==1 or len([n for n in W.shape if n>1])<3 else .06)
    for f in low.factors[1:]: # the first holds the strength
        rms = (f.detach().square()*(SHARE[:,None] if len(f)==24 else 1/len(f))).sum(0)
        close(rms, torch.ones(k).double())
    assert (np.diff(strengths(low))<=1e-9).all()

def test_a_matrix_has_no_more_components_than_asked_for_and_the_largest_come_first():
    W = made(3, 4)@torch.diag(torch.tensor([9., 3., 1., .1]).double())@maps(4).T
    for k in (1, 2, 3):
        low = map_components(W, [Mode('feature', 3), SPACE], 1, k); s = strengths(low)
        assert low.rank==k and (np.diff(s)<0).all()
        # as good as the best matrix of that rank, by area
        left = torch.linalg.svd(W*SHARE.sqrt())[1][k:].square().sum()
        assert float(((low.full().detach()-W).square()*SHARE).sum())==pytest.approx(float(left), rel=1e-8, abs=1e-20)

def test_places_of_cells_without_area_are_nothing():
    W = torch.einsum('lk,vk,dk->lvd', made(3, 2), made(2, 2, seed=4), maps(2)); W[...,~SEEN] = 7.
    got = by_place(W, 2, [None, None, SHARE], 2)
    assert len(got)==3 and [tuple(f.shape) for f in got]==[(3,2), (2,2), (24,2)]
    assert (got[2][~SEEN]==0).all() and all(torch.isfinite(f).all() for f in got)
    close(torch.einsum('lk,vk,dk->lvd', *got)[...,SEEN], W[...,SEEN], .06)

@pytest.mark.parametrize('places', [True, False])
def test_components_are_the_best_by_area(places):
    W = torch.einsum('lk,vk,dk->lvd', made(3, 2), made(2, 2, seed=4), maps(2))
    W = W+.3*made(3, 2, 24, seed=8); W[...,~SEEN] = 7.
    low = map_components(W, [Mode('lead', 3),Mode('variable', 2),SPACE], 1, 1, places)
    error = lambda full: float(((full.detach().reshape(W.shape)-W).square()*SHARE).sum())
    best,plain = (cp_tensor(cp_decompose(W*SEEN, 1, weights=w).factors) for w in ([None, None, SHARE], None))
    assert error(low.full())==pytest.approx(error(best), rel=1e-3) and error(best)<.999*error(plain)
    assert (low.factors[2].detach()[~SEEN]==0).all()

@pytest.mark.parametrize('space', [0, 1, 2])
def test_the_map_may_be_any_mode(space):
    factors = [made(3, 2), made(2, 2, seed=4)]; factors.insert(space, maps(2))
    shares = [None, None]; shares.insert(space, SHARE); W = 1e6*cp_tensor(factors)
    got = by_place(W, space, shares, 2)
    assert [len(f) for f in got]==list(W.shape); close(cp_tensor(got), W, .06)

def test_a_place_may_have_several_products_of_loadings():
    "One map, and loadings that no single product is: as many components as it takes, up to the number asked for."
    A = made(4, 4); W = A[...,None]*maps(1)[:,0]
    for k in range(1, 5):
        got = by_place(W, 2, [None, None, SHARE], k); assert got[0].shape[1]==k
        left = torch.linalg.svd(A)[1][k:].norm()/A.norm()
        assert float((cp_tensor(got)-W).norm()/W.norm())==pytest.approx(float(left), abs=1e-6)

# ---- turned

def learnt(*factors):
    "A model of these factors, the map last."
    modes = [*(Mode(f'm{i}', len(f)) for i,f in enumerate(factors[:-1])), SPACE]
    low = LowRank(modes, factors[0].shape[1], dtype=torch.float64)
    for p,f in zip(low.factors, factors): p.data = f
    return low

SPOTS = torch.zeros(24, 2, dtype=torch.float64); SPOTS[[3,4],0] = 1.; SPOTS[[20,21],1] = 1.
MIX = torch.tensor([[1.,.6],[.5,-1.],[.8,.3]]).double(); Q = torch.linalg.qr(made(2, 2))[0]
BACK = SPOTS@torch.linalg.inv(Q).T

@pytest.mark.parametrize('low', [learnt(MIX@Q, BACK), learnt(MIX@Q, torch.tensor([[2.,-1.]]).double(),
                                                             BACK/torch.tensor([2.,-1.]).double())])
def test_turned_factors_have_a_spot_each_and_the_same_weights(low):
    want = low.full().detach(); got = turned(low); assert got is low
    close(got.full().detach(), want)
    F = got.factors[-1].detach(); assert ((F.abs()>1e-6*F.abs().max()).sum(0)==2).all()
    assert all((f.detach()==1).all() for f in got.factors if len(f)==1) and all(f.is_contiguous() for f in got.factors)

def test_turned_components_that_are_not_needed_are_nothing():
    "Three components of two spots."
    low = learnt(MIX@made(2, 3, seed=5), SPOTS@made(2, 3, seed=6)); want = low.full().detach(); got = turned(low)
    close(got.full().detach(), want); assert got.rank==3 and all((f[:,2]==0).all() for f in got.factors)

def test_a_turned_component_that_hardly_is_there_is_nothing():
    spots = torch.cat([SPOTS, torch.zeros(24, 1).double()], 1); spots[11,2] = 1e-6
    low = turned(learnt(torch.cat([MIX, torch.tensor([[1.],[1.],[-1.]]).double()], 1), spots))
    assert low.rank==3 and (low.factors[0][:,2]==0).all()

@pytest.mark.parametrize('low,held', [(learnt(MIX@Q, BACK), (0,)), (learnt(MIX[:,:1], SPOTS[:,:1]), ()),
    (learnt(MIX@Q, made(2, 2), BACK), ()), (learnt(made(1, 2), BACK), ())])
def test_nothing_else_is_turned(low, held):
    "Held factors, one component, three modes, a map alone."
    was = deepcopy(low); got = turned(low, held)
    for a,b in zip(was.factors, got.factors): assert torch.equal(a, b)

def test_loadings_without_a_map_are_not_turned():
    modes = [Mode('a', 3), Mode('b', 2), Mode('space', 1, Grid((1,1)))]; low = LowRank(modes, 2, dtype=torch.float64)
    was = deepcopy(low); turned(low)
    for a,b in zip(was.factors, low.factors): assert torch.equal(a, b)

# ---- units

@pytest.mark.parametrize('shape', [(3,1), (1,1), (3,24)])
def test_scales_are_taken_off_where_they_differ(shape):
    scale = torch.ones(3, 1).double()*5 if shape==(1,1) else torch.tensor([2., 1e5, 1e-3]).double()[:,None]
    if shape==(3,24): scale = scale*torch.linspace(1, 2, 24).double()
    if shape==(1,1): scale = scale[:1]
    W = MIX@SPOTS.T; low = rescaled(map_components(scale*W, [Mode('feature', 3), SPACE], 1, 2), scale)
    close(low.full().detach(), W); F = low.factors[1].detach()
    close((F.square()*SHARE[:,None]).sum(0), torch.ones(2).double())
    assert (F.gather(0, F.abs().argmax(0)[None])>0).all()

def test_scales_of_variables_and_of_outputs_are_taken_off_together():
    modes = [Mode('lead', 3),Mode('variable', 2),SPACE]; low = LowRank(modes, 2, 2, dtype=torch.float64)
    for p,n in zip(low.factors, (3, 2, 24, 2)): p.data = made(n, 2, seed=n)
    scale = torch.tensor([2., 1e4]).double()[:,None,None]/torch.tensor([1., 30.]).double()
    want = low.full().detach().reshape(3, 2, 24, 2)/scale
    close(rescaled(low, scale[None]).full().detach().reshape(want.shape), want)

def test_order_keeps_weights_and_puts_strength_first():
    low = learnt(-MIX*torch.tensor([.1, 3.]).double(), 4*SPOTS); want = low.full().detach(); in_order(low)
    close(low.full().detach(), want); assert np.diff(strengths(low))[0]<0 and low.factors[1][20,0]>0

# ---- shares

def test_shares_are_of_what_varies():
    a = made(50, 2); sd = torch.tensor([1., 3.]).double(); v = a.var(0)/sd**2
    assert carries(a, a+7, sd)==1 and carries(a, -a, sd)==pytest.approx(-3)
    assert carries(a, a*torch.tensor([1., .5]).double(), sd)==pytest.approx(float(1-.25*v[1]/v.sum()))
    assert carries(0*a+2, a, sd)==1 # nothing varies: nothing is left out

def fitted(n=60, outputs=1, leads=3, W=None, seed=0):
    d = FieldDesign(made(n, leads, 4, 6, seed=seed), GLOBE); full = FullRank(d.modes, outputs, dtype=torch.float64)
    full.W.data = (made(*full.W.shape, seed=7) if W is None else W.reshape(full.W.shape)); full.bias.data += 5
    return full,d

def test_auto_takes_the_fewest_that_carry_enough_and_a_number_that_number():
    sd = np.ones(1); W = torch.diag(torch.tensor([1., .6, .04]).double())@maps(3).T
    full,d = fitted(W=W); one = torch.ones(3, 1).double()
    auto = condense(full, d, 'auto', one, sd); two,nine = (condense(full, d, k, one, sd) for k in (2, 9))
    assert auto.low.rank==two.low.rank==2 and .99<=auto.carried==two.carried<1 and auto.whole and not two.whole
    assert nine.low.rank==3 and nine.carried==pytest.approx(1) and not nine.whole
    assert condense(full, d, 1, one, sd).carried<.99
    with torch.no_grad():
        want,got = full(d.batch()),auto.low(d.batch()); close(got.mean(0), want.mean(0))
        assert auto.carried==pytest.approx(carries(want, got, torch.ones(1).double()))
    # all there is: nothing is left out
    full,d = fitted(W=W*torch.tensor([1., 1., 0.]).double()[:,None]); auto = condense(full, d, 'auto', one, sd)
    assert auto.low.rank==2 and not auto.whole
    full,d = fitted(W=W*torch.tensor([1., 1., 1e-4]).double()[:,None]); auto = condense(full, d, 'auto', one, sd)
    assert auto.low.rank==2 and auto.carried<1 and not auto.whole

def test_auto_ends_at_sixteen():
    "Twenty components of one size."
    W = torch.zeros(20, 24, dtype=torch.float64); W[:,SEEN] = torch.linalg.qr(made(22, 20))[0].T
    full,d = fitted(leads=20, W=W); got = condense(full, d, 'auto', torch.ones(20, 1).double(), [1.])
    assert got.low.rank==MOST==16 and got.carried<.99 and got.whole

def test_units_of_variables_and_of_outputs_change_nothing():
    X = made(60, 2, 4, 6); unit,out = torch.tensor([1., 1e4]).double()[:,None],torch.tensor([1., 1e3]).double()
    W,sd = made(2, 24, 2, seed=7)*torch.tensor([1., .1]).double(),np.array([1., .1])
    def found(unit, out):
        d = FieldDesign(X*unit[...,None], GLOBE); full = FullRank(d.modes, 2, dtype=torch.float64)
        full.W.data = W/unit[...,None]*out
        return condense(full, d, 2, unit, sd*out.numpy())
    a,b = found(torch.ones(2, 1).double(), torch.ones(2).double()),found(unit, out)
    assert b.carried==pytest.approx(a.carried, rel=1e-6) and a.low.outputs==2
    close(b.low.full().detach()*unit[...,None]/out, a.low.full().detach(), 1e-6)
    # the largest component is the largest in standard deviations of the targets, too
    full,d = fitted(leads=1, outputs=2, W=torch.stack([SPOTS[:,0], 100*SPOTS[:,1]], -1))
    got = condense(full, d, 1, torch.ones(1, 1).double(), np.array([1., 1e4])).low.full().detach().reshape(24, 2)
    assert float(got[3,0])==pytest.approx(1) and float(got[20,1])==pytest.approx(0, abs=1e-9)

def test_many_rows_are_looked_at_evenly():
    "Every other one of 4,000: what the rows between them say does not count."
    X = made(4000, 1, 4, 6); full,d = fitted(leads=1); odd = X.clone(); odd[1::2] *= 50
    low,other = (condense(full, FieldDesign(x, GLOBE), 1, torch.ones(1, 1).double(), [1.]).low for x in (X, odd))
    assert torch.equal(low.bias, other.bias)
    with torch.no_grad(): b = FieldDesign(X[::2], GLOBE).batch(); close(low(b).mean(), full(b).mean())
    # and of two thousand all
    full,d = fitted(2000, W=MIX@SPOTS.T, seed=3); low = condense(full, d, 1, torch.ones(3, 1).double(), [1.]).low
    with torch.no_grad(): close(low(d.batch()).mean(), full(d.batch()).mean())

def test_covariates_are_carried_over_as_they_are():
    full,d = fitted(); given = condense(full, d, 1, torch.ones(3, 1).double(), [1.]).low
    assert not given.covariates and given.gamma is None
    full.covariates,full.gamma = 1,torch.nn.Parameter(torch.tensor([[2.5]]).double())
    low = condense(full, d, 1, torch.ones(3, 1).double(), [1.]).low
    assert low.covariates==1 and low.gamma.tolist()==[[2.5]]
    full.gamma.data += 1; assert low.gamma.tolist()==[[2.5]]
