"Longitudes that close a circle are neighbours: where a globe is cut changes nothing."
import numpy as np, pytest, torch
from scipy.ndimage import gaussian_filter
from mrtl import EventDesign, FieldDesign, Grid, MRTLRegressor
from mrtl.finegrain import finegrain, operator_norm, prolongation
from mrtl.penalties import Smoothness
import pandas as pd

H,W = 6,16

def world(turn, land):
    "Fields with a blob at the meridian at 0, and their design, cut `turn` columns further west."
    rng = np.random.default_rng(0)
    X = gaussian_filter(rng.normal(size=(120, H, W)), (0,1,1), mode=('nearest','nearest','wrap')); X /= X.std()
    i,j = np.mgrid[:H,:W]; T = np.exp(-((i-3)**2+np.minimum(j, W-j)**2)/5)
    mask = np.ones((H, W), bool)
    if land: mask[2:4,5:8] = mask[0,0] = False
    X,y = X*mask,(X*mask*T).sum((1,2)); y = y/y.std()+.7*rng.normal(size=len(y))
    west = -22.5*turn
    grid = Grid((H,W), (-60,60), (west, west+360), ('lat','lon'), sphere=True, mask=np.roll(mask, turn, 1))
    return FieldDesign(torch.from_numpy(np.roll(X, turn, 2)), grid),y

@pytest.mark.parametrize('land', [False, True])
@pytest.mark.parametrize('way', [dict(method='evidence'), dict(method='sgd', optimizer='exact')])
def test_maps_turn_with_the_globe(way, land):
    at = {k: MRTLRegressor(**way).fit(*world(k, land)) for k in (0,8)}
    a,b = (np.nan_to_num(m.coef_.values.reshape(H, W)) for m in at.values())
    np.testing.assert_allclose(np.roll(b, -8, 1), a, atol=1e-8*abs(a).max())
    if way['method']=='evidence':
        a,b = (np.nan_to_num(m.coef_std_.values.reshape(H, W)) for m in at.values())
        np.testing.assert_allclose(np.roll(b, -8, 1), a, atol=1e-8*abs(a).max())

@pytest.mark.parametrize('east,same', [(360, True), (350, False)])
def test_penalties_and_copies_close_the_circle(east, same):
    lo,hi = (Grid((2,w), (-60,60), (0,east), sphere=True) for w in (4,8))
    b = torch.zeros(1, 2, 8, dtype=torch.float64); b[...,0] = b[...,1] = 1; turned = b.roll(3, -1)
    for kernel,power in [(k, p) for k in ('gaussian','exponential') for p in (1,2)]:
        R = Smoothness(hi, .1, kernel, power); assert (abs(R(b)/R(turned)-1)<1e-10)==same
    for method in ('bilinear','smooth'):
        c = torch.eye(4, dtype=torch.float64)[:,None].expand(4, 2, 4)
        fine = finegrain(c, hi, method=method, source=lo)[:,0]
        assert torch.allclose(fine[0].roll(4), fine[2])==same
        assert torch.allclose(prolongation(lo, hi, method)[1].sum(1), torch.ones(8).double())

@pytest.mark.parametrize('method', ['bilinear','smooth'])
def test_copies_know_the_circle_from_either_grid(method):
    lo,hi = (Grid((1,w), (-60,60), (0,360), sphere=True) for w in (2,8))
    c = torch.eye(2, dtype=torch.float64)[:,None]; fine = finegrain(c, hi, method=method)
    # two cells are neighbours on either side
    near = torch.tensor([5,7,7,5,3,1,1,3]).double()/8
    torch.testing.assert_close(fine[:,0], torch.stack([near, 1-near]))
    torch.testing.assert_close(finegrain(c, (1,8), method=method, source=lo), fine)
    lo = Grid((1,3), (-60,60), (0,360), sphere=True)
    fine = finegrain(torch.eye(3, dtype=torch.float64)[:,None], hi, method=method)[:,0]
    norm = pytest.approx(float(torch.linalg.matrix_norm(fine, 2)), rel=1e-12)
    assert operator_norm(lo, (1,8), method=method) == norm == operator_norm((1,3), hi, method=method)
    lo = Grid((1,3), (-60,60), (0,360), sphere=True, mask=np.array([[True,True,False]]))
    fine = finegrain(torch.eye(3, dtype=torch.float64)[:,None], hi, method=method, source=lo)[:,0]
    assert operator_norm(lo, (1,8), method=method) == pytest.approx(float(torch.linalg.matrix_norm(fine, 2)), rel=1e-8)

@pytest.mark.parametrize('n', [300, 600, 900, 3600])
def test_longitudes_in_float32_close_too(n):
    lon = (np.arange(n)*(360/n)).astype('float32')
    assert Grid.from_coords([-10, 10], lon, sphere=True).circle
    assert not Grid.from_coords([-10, 10], lon[:-1], sphere=True).circle
    assert not Grid.from_coords([-10, 10], lon).circle

def test_places_are_found_on_either_side_of_the_cut():
    g = Grid((1,4), (-10,10), (0,360), ('lat','lon'), sphere=True)
    assert g.locate([0]*5, [-1, 0, 359, 360, -181]).tolist()==[3, 0, 3, 0, 1]
    assert g.locate([0, 20], [np.nan, 5]).tolist()==[-1, -1]
    assert Grid((1,4), (-10,10), (0,350), sphere=True).locate([0], [-1]).tolist()==[-1]
    df = pd.DataFrame(dict(lon=[-100., 10.], lat=[0., 5.], hit=[1, 0]))
    d = EventDesign.from_table(df, dict(place=('lon','lat')), grids=dict(place=g))
    assert d.idx['place'].ravel().tolist()==[2, 0]
