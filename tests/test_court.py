"""The court: lengths, scale, orientation by pixels, the handler's dot, probabilities against the model, errors."""
import sys
from io import BytesIO
import numpy as np, pandas as pd, pytest, xarray as xr
from PIL import Image
from mrtl.core import DataError
from mrtl.basketball.court import (court_factors, court_lines, court_map, defender_map, draw_court,
                                   movable_defender, reliability_plot, shot_map, shot_probability, top_players)
from mrtl.panels import new_figure
from sklearn.metrics import brier_score_loss

def axes():
    fig = new_figure(5., 5.)
    return fig,fig.add_axes((.1,.1,.8,.8))

def pixel(fig, ax, x, y):
    "The colour at data point (x, y) of the axes."
    buffer = BytesIO(); fig.savefig(buffer, dpi=100); image = np.asarray(Image.open(buffer).convert('RGB'))
    col,row = ax.transData.transform((x, y))
    return image[int(len(image)-row), int(col)].astype(int)

def place(fig, ax, x, y):
    "Where data point (x, y) is, in pixels from the lower left."
    fig.draw_without_rendering()
    return ax.transData.transform((x, y))

def toy(seed=0, names=('a','b','c'), main=False):
    rng = np.random.default_rng(seed); k = 2
    data = dict(player_loading=(('player','component'), rng.normal(size=(len(names),k))),
                court=(('court_x','court_y','component'), rng.normal(size=(4,5,k))),
                defender=(('ahead','right','component'), rng.normal(size=(6,6,k))),
                strength=('component', np.array([2.,.5])), bias=('output', [-.7]))
    if main:
        data |= dict(main_player=(('player','output'), rng.normal(size=(len(names),1))),
                     main_court=(('court_x','court_y','output'), rng.normal(size=(4,5,1))),
                     main_defender=(('ahead','right','output'), rng.normal(size=(6,6,1))))
    return xr.Dataset(data, coords=dict(player=list(names), component=[1,2], output=[0]))

# ---- lengths, from the rule book, not from FEET

def test_lengths():
    l = court_lines(); side = lambda p: np.linalg.norm(np.diff(p, axis=0), axis=1)
    np.testing.assert_allclose(side(l['border']), [47,50,47,50])
    np.testing.assert_allclose(side(l['lane']), [19,16,19])
    np.testing.assert_allclose(l['rim'].max(0)-l['rim'].min(0), [1.5,1.5])
    np.testing.assert_allclose(l['rim'][:-1].mean(0), [5.25,25])
    np.testing.assert_allclose(l['board'], [[4,22],[4,28]])
    np.testing.assert_allclose(np.linalg.norm(l['circle']-[19,25], axis=1), 6)
    np.testing.assert_allclose(np.linalg.norm(l['centre']-[47,25], axis=1), 6); assert l['centre'][:,0].max() <= 47+1e-9
    np.testing.assert_allclose(np.linalg.norm(l['restricted']-[5.25,25], axis=1), 4)
    assert l['restricted'][:,0].min() >= 5.25-1e-9

def test_three_point_line():
    t = court_lines()['three']
    np.testing.assert_allclose(t[:,0].max(), 29)                   # 23.75 beyond the rim
    np.testing.assert_allclose(t[[0,1,-2,-1],1], [3,3,47,47])      # 22 to each side
    np.testing.assert_allclose(t[[1,-2],0], 5.25+np.sqrt(23.75**2-22**2))
    assert (t[[0,-1],0] == 0).all()

@pytest.mark.parametrize('name', court_lines())
def test_lines_are_symmetric(name):
    p = court_lines()[name]
    mirrored = p*[1,-1]+[0,50]
    assert all(np.abs(p-q).sum(1).min() < 1e-9 for q in mirrored)

def test_drawn_to_scale():
    fig,ax = axes(); draw_court(ax)
    o,a,b = (place(fig, ax, *v) for v in ((0,0),(10,0),(0,10)))
    # y right, x down, one scale
    np.testing.assert_allclose(a-o, [a[0]-o[0],0], atol=1e-9)
    np.testing.assert_allclose(b-o, [0,-(a[0]-o[0])], atol=1e-6)
    assert len(ax.lines) == len(court_lines())

# ---- white is zero, and which way round

@pytest.mark.parametrize('draw,shape', [(court_map,(40,50)), (court_map,(8,10)), (court_map,(4,5)),
                                        (defender_map,(12,12)), (defender_map,(6,6))])
@pytest.mark.parametrize('worst', [-3.,5.])
def test_white_is_zero(draw, shape, worst):
    v = np.ones(shape)*.5; v[0,1] = worst; v[1,0] = 0
    fig,ax = axes(); mesh = draw(ax, v)
    assert mesh.get_clim() == (-abs(worst), abs(worst))
    assert min(mesh.cmap(mesh.norm(0.))[:3]) > .95
    assert (mesh.cmap(mesh.norm(1.))[0] > mesh.cmap(mesh.norm(1.))[2]
            and mesh.cmap(mesh.norm(-1.))[0] < mesh.cmap(mesh.norm(-1.))[2])

@pytest.mark.parametrize('i,j', [(30,7), (7,30), (3,44), (35,44)])
def test_court_orientation(i, j):
    v = np.zeros((40,50)); v[i-1:i+2,j-1:j+2] = 1
    fig,ax = axes(); court_map(ax, v)
    for x,y in ((i,j),(39-i,j),(i,49-j),(39-i,49-j)):
        p = pixel(fig, ax, y+.5, x+.5); assert (p[0]-p[2] > 60) == ((x,y) == (i,j)), (x,y,p)
    assert place(fig, ax, 25, 5)[1] > place(fig, ax, 25, 30)[1], 'the rim is at the top'
    assert place(fig, ax, 40, 5)[0] > place(fig, ax, 10, 5)[0], 'y runs to the right'

@pytest.mark.parametrize('ahead,right', [(9,2), (2,9), (1,1), (10,8)])
def test_defender_orientation(ahead, right):
    v = np.zeros((12,12)); v[ahead,right] = 1
    fig,ax = axes(); defender_map(ax, v)
    for a,r in ((ahead,right),(11-ahead,right),(ahead,11-right),(right,ahead)):
        p = pixel(fig, ax, r-5.5, a-1.5); assert (p[0]-p[2] > 60) == ((a,r) == (ahead,right)), (a,r,p)
    assert place(fig, ax, 0, 8)[1] > place(fig, ax, 0, 0)[1] and place(fig, ax, 4, 0)[0] > place(fig, ax, -4, 0)[0]

@pytest.mark.parametrize('n', [12,6])
def test_dot(n):
    fig,ax = axes(); defender_map(ax, np.zeros((n,n)))
    (x,),(y,) = ax.lines[-1].get_data()
    assert (np.floor(x+6), np.floor(y+2)) == (6,2)                 # BASKETBALL.md's cell of the handler
    p = pixel(fig, ax, x, y); assert p[1] > p[0]+60 and p[1] > p[2]+30

@pytest.mark.parametrize('draw,shape', [(court_map,(50,40)), (court_map,(40,)), (court_map,(40,50,2)),
                                        (court_map,(12,12)), (court_map,(0,0)), (defender_map,(6,12)),
                                        (defender_map,(40,50)), (defender_map,(12,12,1))])
def test_wrong_shapes(draw, shape):
    with pytest.raises(DataError, match='feet with square cells'): draw(axes()[1], np.ones(shape))

def test_nothing_to_draw():
    with pytest.raises(DataError, match='nothing to draw'): court_map(axes()[1], np.full((4,5), np.nan))

# ---- factors

def test_court_factors_share_scales():
    f = toy(); fig = court_factors(f, dict(a='Ann'), 'two')
    courts,nears = ([ax.collections[0] for ax in fig.axes[k:6:3]] for k in (0,1))
    assert {m.get_clim() for m in courts} == {(-m,m) for m in [float(np.abs(f.court).max())]}
    assert {m.get_clim() for m in nears} == {(-m,m) for m in [float(np.abs(f.defender).max())]}
    for c in (0,1):
        np.testing.assert_array_equal(courts[c].get_array().reshape(4,5), f.court[...,c])
        np.testing.assert_array_equal(nears[c].get_array().reshape(6,6), f.defender[...,c])
    assert 'Ann' in [t.get_text() for t in fig.axes[2].get_yticklabels()]

def test_top_players():
    f = toy(); f.player_loading[:] = np.array([[1,-9.],[-3,2],[2,4]])
    t = top_players(f, 2, dict(b='Bea'))
    assert t.values.tolist() == [[1,'Bea',-3.],[1,'c',2.],[2,'a',-9.],[2,'c',4.]]
    assert len(top_players(f, 10)) == 6

@pytest.mark.parametrize('what', ['court','defender','player_loading'])
def test_missing_mode(what):
    for f in (court_factors, top_players, lambda d: shot_probability(d, 'a')):
        with pytest.raises(DataError, match=f'{what} missing'): f(toy().drop_vars(what))

@pytest.mark.parametrize('main', [False,True])
@pytest.mark.parametrize('defenders', [[], [(.5,.5)], [(-5.9,-1.9),(5.9,9.9),(2.1,-.1)],
                                       [(0,3),(6.,3),(0,10.),(-6.1,3)]])
def test_shot_probability_by_loops(main, defenders):
    f = toy(1, main=main); got = shot_probability(f, 'b', defenders)
    for i in range(4):
        for j in range(5):
            odds = -.7
            if main: odds += float(f.main_player[1,0]+f.main_court[i,j,0])
            for right,ahead in defenders:
                r,a = int((right+6)//2),int((ahead+2)//2)
                if not (0 <= r < 6 and 0 <= a < 6): continue
                odds += sum(float(f.strength[k]*f.player_loading[1,k]*f.court[i,j,k]*f.defender[a,r,k]) for k in (0,1))
                if main: odds += float(f.main_defender[a,r,0])
            np.testing.assert_allclose(got[i,j], 1/(1+np.exp(-odds)), rtol=1e-12)

def test_unknown_player():
    with pytest.raises(DataError, match="player 'z' is not among the 3 players"): shot_map(toy(), 'z')

def test_shot_map():
    fig = shot_map(toy(), 'c', [(2.,4.)], names=dict(c='Cat'))
    np.testing.assert_allclose(fig.axes[0].collections[0].get_array().reshape(4,5),
                               shot_probability(toy(), 'c', [(2.,4.)]))
    assert fig.axes[0].collections[0].get_clim()[0] == 0
    crosses = [l for ax in fig.axes for l in ax.lines if l.get_marker() == 'X']
    assert len(crosses) == 1 and [float(v[0]) for v in crosses[0].get_data()] == [2.,4.]

def test_movable_defender_stands_still_without_ipywidgets(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    assert len(movable_defender(toy(), 'a').axes) == 3

# ---- reliability

def test_reliability():
    rng = np.random.default_rng(0); p = rng.uniform(0, .5, 4000); y = (rng.random(4000) < p).astype(int)
    ax = reliability_plot(y, p, bins=4).axes[0]
    given,seen = ax.lines[1].get_data(); order = np.argsort(p).reshape(4, 1000)
    np.testing.assert_allclose(given, p[order].mean(1), atol=2e-3)
    np.testing.assert_allclose(seen, y[order].mean(1), atol=5e-3)
    assert f'{brier_score_loss(y, p):.4f}' in ax.texts[0].get_text()

@pytest.mark.parametrize('y,p,said', [([0,1],[.1],'one of each'), ([0,1],[[.1,.9],[.2,.8]],'one of each'),
                                      ([],[],'one of each'), ([0,2],[.1,.2],'0 or 1'), ([0,1],[.1,1.2],'between'),
                                      ([0,1],[.1,np.nan],'NaN')])
def test_reliability_errors(y, p, said):
    with pytest.raises(DataError, match=said): reliability_plot(y, p)
