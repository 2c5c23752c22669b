"""What two pages cannot show of mrtl.nodes and mrtl.events: weights against brute force and scipy, every way to lie
outside, nesting for every kind of mode, tables that are odd."""
import itertools, warnings
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from mrtl.core import DataError, ScheduleError
from mrtl.designs import Mode
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.nodes import Nodes

LATTICES = dict(
    even=Nodes(np.arange(5.), np.arange(7.)), court=Nodes.of(Grid((8,10), (-3,47), (10,60))),
    flat=Nodes([0,1], [2,5,6]),
    uneven=Nodes([0,1,3,3.5,9], [-4,-1,-.5,2,2.25,8,20]), tube=Nodes([0,2,3,7], [0,90,100,270], period=(None,360)),
    ring=Nodes([-10,0,5,9], [1,2,4], period=(30,None)),
    torus=Nodes([0,1,4,5], [0,3,4,9], period=(8,12)))
CURVES = dict(even=Nodes(np.arange(9.)), two=Nodes([1,2]), uneven=Nodes([-3,-1,0,5,20]),
              day=Nodes(range(0, 24, 3), period=24), week=Nodes([.5,1,3,6], period=7))
every = lambda cases: pytest.mark.parametrize('nodes', cases.values(), ids=cases.keys())

def unwrapped(nodes):
    "The axes with the first node again at the end where they come round."
    return [a if p is None else np.append(a, a[0]+p) for a,p in zip(nodes.axes, nodes.period)]

def brute(nodes, *at):
    "The weights of one point, interval by interval, by the areas of the opposite rectangles."
    parts = []
    for s,axis,p,size in zip(at, unwrapped(nodes), nodes.period, nodes.sizes):
        row = np.zeros(size)
        while p is not None and s<axis[0]: s += p
        while p is not None and s>=axis[-1]: s -= p
        for i in range(len(axis)-1):
            lo,hi = axis[i],axis[i+1]
            if lo<=s<hi or (s==hi==axis[-1]): row[i] += (hi-s)/(hi-lo); row[(i+1)%size] += (s-lo)/(hi-lo); break
        parts.append(row)
    return parts[0] if len(parts)==1 else np.outer(*parts).ravel()

def places(nodes, n=200, seed=0, turns=2):
    "Places all over, at nodes and at both ends, and some periods away where an axis comes round."
    rng = np.random.default_rng(seed); axes = unwrapped(nodes)
    at = np.array([np.concatenate([rng.uniform(a[0], a[-1], n), rng.choice(a, 30), [a[0], a[-1], a[0], a[-1]]])
                   for a in axes])
    at[:,-4:] = [[a[0], a[-1], a[0 if len(axes)==1 or k else -1], a[-1 if len(axes)==1 or k else 0]]
                 for k,a in enumerate(axes)]
    return [v if p is None else v+p*rng.integers(-turns, turns+1, v.shape) for v,p in zip(at, nodes.period)]

# ---- looking up

@every(LATTICES|{f'{k} curve': v for k,v in CURVES.items()})
def test_weights_are_those_by_hand(nodes):
    at = places(nodes); X = nodes.lookup(*at, outside='raise').toarray()
    np.testing.assert_allclose(X, [brute(nodes, *s) for s in zip(*at)], atol=1e-12)
    assert X.min()>=0 and (nodes.lookup(*at).getnnz(1)<=2**len(nodes.axes)).all()

@every(LATTICES|{f'{k} curve': v for k,v in CURVES.items()})
def test_scipy_interpolates_the_same(nodes):
    rng = np.random.default_rng(1); f = rng.normal(size=nodes.sizes)
    at = places(nodes, seed=2); axes = unwrapped(nodes)
    g = np.pad(f, [(0,int(p is not None)) for p in nodes.period], mode='wrap')
    inside = np.stack([s if p is None else a[0]+np.mod(s-a[0], p) for s,a,p in zip(at, axes, nodes.period)], 1)
    np.testing.assert_allclose(nodes.lookup(*at)@f.ravel(), RegularGridInterpolator(axes, g)(inside), atol=1e-10)

@every(LATTICES|{f'{k} curve': v for k,v in CURVES.items()})
def test_a_node_looks_at_itself(nodes):
    X = nodes.lookup(*(v.ravel() for v in np.meshgrid(*nodes.axes, indexing='ij')))
    np.testing.assert_allclose(X.toarray(), np.eye(nodes.D), atol=1e-12)

def test_periods():
    day,shifted = CURVES['day'],Nodes([-6,0,6,12], period=24)
    at = np.array([0, 24, -24, 48, 21, 23.25, -.75, -23.25, 1e-17, -1e-17])
    for k in (-3, 1, 7): np.testing.assert_allclose(day.lookup(at+24*k).toarray(), day.lookup(at).toarray(), atol=1e-12)
    np.testing.assert_allclose(day.lookup([23.25]).toarray()[0], [.75,0,0,0,0,0,0,.25])
    np.testing.assert_allclose(shifted.lookup([15., -9., 18., -6.]).toarray(),
                               [[.5,0,0,.5], [.5,0,0,.5], [1,0,0,0], [1,0,0,0]])
    assert (day.lookup([100., -1000.], outside='raise').sum(1)==1).all() # no place is outside

@pytest.mark.parametrize('outside', ['drop', 'clip', 'raise'])
@every(LATTICES)
def test_points_beyond_a_lattice(nodes, outside):
    (lo,hi),(left,right) = [(a[0], a[-1]) for a in nodes.axes]
    mid = [a[0]+.3*(a[-1]-a[0]) for a in nodes.axes]
    eps = 1e-9
    on = [(lo, mid[1]), (hi, mid[1]), (mid[0], left), (mid[0], right), (hi, right)]
    off = [(y, x) for y,x in ((lo-eps, mid[1]), (hi+eps, mid[1]), (np.inf, mid[1])) if nodes.period[0] is None]
    off += [(y, x) for y,x in ((mid[0], left-eps), (mid[0], right+3.), (mid[0], -np.inf)) if nodes.period[1] is None]
    assert (np.abs(nodes.lookup(*zip(*on), outside=outside).sum(1)-1)<1e-12).all()
    for p in off:
        to = [np.clip(s, a[0], a[-1]) if q is None else s for s,a,q in zip(p, nodes.axes, nodes.period)]
        if outside=='raise':
            with pytest.raises(DataError, match='1 of 6 points lie outside'):
                nodes.lookup(*zip(*on, p), outside='raise')
        elif outside=='drop': assert nodes.lookup(*zip(p)).nnz==0
        else:
            np.testing.assert_allclose(nodes.lookup(*zip(p), outside='clip').toarray()[0],
                                       brute(nodes, *to), atol=1e-12)

def test_missing_is_no_point():
    n = LATTICES['uneven']
    for p in ((np.nan, 1.), (1., np.nan), (np.nan, np.nan)):
        for outside in ('drop', 'clip'): assert n.lookup(*zip(p), outside=outside).nnz==0
        with pytest.raises(DataError, match='1 of 1'): n.lookup(*zip(p), outside='raise')
    assert CURVES['day'].lookup([np.inf, np.nan], outside='clip').nnz==0 # the end of a circle is nowhere
    assert CURVES['two'].lookup([np.inf, np.nan], outside='clip').toarray().tolist()==[[0,1], [0,0]]

def test_several_points_add_up():
    n = LATTICES['uneven']
    y,x = (v[:60].reshape(20, 3).copy() for v in places(n))
    y[4] = np.nan; x[7,1] = np.nan; x[9] = [20, 20, 99]
    X = n.lookup(y, x).toarray(); one = sum(n.lookup(y[:,j], x[:,j]).toarray() for j in range(3))
    np.testing.assert_allclose(X, one, atol=1e-12)
    np.testing.assert_allclose(X.sum(1)[[4,7,9,10]], [0,2,2,3])

def test_no_point_at_all():
    assert CURVES['day'].lookup([]).shape==(0, 8) and LATTICES['even'].lookup(np.zeros((0,2)),
            np.zeros((0,2))).shape==(0, 35)
    assert LATTICES['even'].lookup(np.zeros((3,0)), np.zeros((3,0))).shape==(3, 35)

def test_faults_of_nodes():
    for bad in ([1], [1, 1], [2, 1], [0, np.nan], [[0, 1]], [0, np.inf]):
        with pytest.raises(DataError, match='ascending'): Nodes(bad)
    for p in (24, 23, -1, 0, np.nan):
        with pytest.raises(DataError, match='period'): Nodes(range(0, 25, 3), period=p)
    with pytest.raises(DataError, match='2 axes need'): Nodes([0,1], [0,1], names=('y',))
    for grid in (Grid((1,2), mask=[[True,False]]), Grid((2,4), (-90,90), (0,360), sphere=True)):
        with pytest.raises(DataError, match='no holes'): Nodes.of(grid)
    n = Nodes([0,1], [0,1])
    with pytest.raises(DataError, match='2 axes'): n.lookup([1.])
    with pytest.raises(DataError, match='one shape'): n.lookup([1.,2.], [1.])
    with pytest.raises(DataError, match='one shape'): n.lookup(1., 1.)
    with pytest.raises(DataError, match="'drop', 'clip' or 'raise'"): n.lookup([1.], [1.], outside='fold')

# ---- nesting

@every(LATTICES|{f'{k} curve': v for k,v in CURVES.items()})
def test_every_coarser_lattice_is_the_same_map(nodes):
    rng = np.random.default_rng(3); at = places(nodes, turns=1); X = nodes.lookup(*at)
    divisors = [[s for s in range(1 if p is None else 2, n+1) if n%s==0] for n,p in zip(nodes.shape, nodes.period)]
    for shape in itertools.product(*divisors):
        coarse = nodes.coarsen(shape); Q = nodes.prolongation(coarse)
        f = rng.normal(size=coarse.D); direct = coarse.lookup(*at)
        assert (coarse.shape==shape and coarse.period==nodes.period and coarse.names==nodes.names
                and all(set(c)<=set(a) for c,a in zip(coarse.axes, nodes.axes)))
        np.testing.assert_allclose(X@(Q@f), direct@f, atol=1e-12)
        np.testing.assert_allclose((X@Q).toarray(), direct.toarray(), atol=1e-12)
    below = list(itertools.product(*[range(0, n+2) for n in nodes.shape]))
    for shape in set(below)-set(itertools.product(*divisors)):
        with pytest.raises(ScheduleError, match='divide'): nodes.coarsen(shape)

def test_shapes_are_whole_numbers():
    with pytest.raises(ScheduleError, match='got 2.5'): Nodes(np.arange(6)).coarsen(2.5)
    with pytest.raises(ScheduleError, match='divide'): Nodes(np.arange(6)).coarsen((5,5))

def test_ladders():
    assert Nodes(np.arange(17), np.arange(33)).ladder()==[(2,4), (4,8), (8,16), (16,32)]
    assert Nodes(np.arange(17), np.arange(33)).ladder(least=5)==[(4,8), (8,16), (16,32)]
    assert Nodes(np.arange(9), np.arange(8)).ladder()==[(8,7)]
    assert CURVES['day'].ladder(least=1)==[(2,), (4,),
                                           (8,)] and Nodes(np.arange(9)).ladder(least=1)==[(1,), (2,), (4,), (8,)]
    for nodes in (*LATTICES.values(), *CURVES.values()):
        for shape in nodes.ladder(least=1): assert nodes.coarsen(shape).shape==shape

def test_share_is_the_part_nearest_to_each_node():
    np.testing.assert_allclose(Nodes([0,1,4]).share, [1/8, 4/8, 3/8])
    np.testing.assert_allclose(Nodes([0,1,3], period=4).share, [1/4, 3/8, 3/8])
    for nodes in LATTICES.values(): # how often a random place is nearest, by its intervals' halves
        a = places(nodes, 40000, turns=0); a = [v[:40000] for v in a]
        near = [np.abs((v[:,None]-np.append(x, x[0]+p if p is not None else np.inf))).argmin(1)%len(x)
                for v,x,p in zip(a, nodes.axes, nodes.period)]
        found = np.bincount(near[0]*nodes.sizes[1]+near[1], minlength=nodes.D)/40000
        np.testing.assert_allclose(nodes.share, found, atol=.01)

# ---- roughness

def rough(nodes, f):
    v = f(*np.meshgrid(*nodes.axes, indexing='ij')).ravel()
    return v@(nodes.roughness()@v)

@every({k: v for k,v in LATTICES.items() if v.period==(None,None)})
def test_planes_are_free_and_parabolas_exact(nodes):
    span = [a[-1]-a[0] for a in nodes.axes]; unit = np.hypot(*span)
    assert abs(rough(nodes, lambda y,x: 5-2*y+7*x))<1e-9*rough(nodes, lambda y,x: 7*x*y)
    # a y² + b y x + c x², where an axis of one interval has no second derivative
    for a,b,c in ((1,0,0), (0,1,0), (0,0,1), (2,-1,.5)):
        a,c = (v*(len(s)>2) for v,s in zip((a, c), nodes.axes))
        np.testing.assert_allclose(rough(nodes, lambda y,x: a*y**2+b*y*x+c*x**2),
                                   unit**4*((2*a)**2+2*b**2+(2*c)**2), rtol=1e-9, atol=1e-7)

@every({k: v for k,v in CURVES.items() if v.period==(None,)})
def test_lines_are_free_and_parabolas_exact(nodes):
    a = nodes.axes[0]
    assert abs(rough(nodes, lambda t: 3-2*t))<1e-9
    np.testing.assert_allclose(rough(nodes, lambda t: t**2+t),
                               4*(a[-1]-a[0])**4 if len(a)>2 else 0, rtol=1e-9, atol=1e-9)

def test_roughness_is_symmetric_and_not_negative():
    for nodes in (*LATTICES.values(), *CURVES.values()):
        P = nodes.roughness().toarray()
        np.testing.assert_allclose(P, P.T, atol=1e-8*abs(P).max())
        values = np.linalg.eigvalsh(P)
        assert values[0]>=-1e-9*values[-1] and abs(P.sum(1)).max()<1e-9*max(1, abs(P).max())
        free = sum(v<1e-9*max(values[-1], 1e-9) for v in values); ends = [p is None for p in nodes.period]
        # a constant, and a slope along each axis with ends
        assert free==(1+sum(ends) if values[-1]>1e-9 else nodes.D), (nodes, free)

@pytest.mark.parametrize('bend', [1., 1.3, .8])
def test_one_function_at_three_resolutions(bend):
    f = lambda y,x: np.sin(y)*np.cos(x/2)+.3*y*x
    y,x = np.meshgrid((np.arange(500)+.5)*3/500, (np.arange(500)+.5)*4/500, indexing='ij')
    exact = 5**4*np.mean((np.sin(y)*np.cos(x/2))**2*(1+1/16)+2*(.3-np.cos(y)*np.sin(x/2)/2)**2)
    for n in (12, 24, 48):
        assert abs(rough(Nodes(3*np.linspace(0, 1, n+1)**bend, np.linspace(0, 4, n+1)), f)/exact-1)<.02

@pytest.mark.parametrize('unit', [1., .3048, 1000.])
def test_units_make_no_difference(unit):
    f = np.random.default_rng(4).normal(size=35); n = LATTICES['uneven']
    other = Nodes(*[a*unit+3 for a in n.axes])
    np.testing.assert_allclose(f@(other.roughness()@f), f@(n.roughness()@f), rtol=1e-9)

def test_a_circle_has_no_seam():
    for n in (16, 32, 64):
        circle = Nodes(np.arange(n)*24/n, period=24); P = circle.roughness().toarray()
        np.testing.assert_allclose(np.roll(P, (3,3), (0,1)), P, atol=1e-6*abs(P).max())
        for k in (1, 2):
            assert abs(rough(circle, lambda t: np.sin(2*np.pi*k*t/24+.7))/((2*np.pi*k)**4/2)-1)<.06*(16*k/n)**2
    for n in (24, 48): # nodes closer together in the morning
        day = Nodes(24*(np.arange(n)/n+.1*np.sin(2*np.pi*np.arange(n)/n)), period=24)
        for shift in (0, .7, 2):
            assert abs(rough(day, lambda t: np.sin(2*np.pi*t/24+shift))/((2*np.pi)**4/2)-1)<.2*(12/n)**2
    # the same ring, cut elsewhere
    uneven = Nodes([0,1,3,6,10,13,18], period=24); moved = Nodes([3,6,10,13,18,24,25], period=24)
    f = np.random.default_rng(5).normal(size=7)
    np.testing.assert_allclose(np.roll(f, -2)@(moved.roughness()@np.roll(f, -2)), f@(uneven.roughness()@f), rtol=1e-9)
    # of two axes one comes round
    tube = Nodes([0,1,2.5,4], np.arange(48)*360/48, period=(None,360)); unit = np.hypot(4, 360)
    assert abs(rough(tube, lambda y,x: np.cos(np.deg2rad(x)))/(unit**4*np.deg2rad(1)**4/2)-1)<.01

# ---- designs

def table(n=300, seed=0):
    rng = np.random.default_rng(seed); far = lambda: np.where(rng.random(n)<.3, np.nan, rng.uniform(-1, 13, n))
    return pd.DataFrame(dict(who=rng.choice(['ann','bob','cem'], n), x=rng.uniform(0, 50, n),
                             y=rng.uniform(0, 40, n), dist=np.where(rng.random(n)<.1, np.nan, rng.uniform(-1, 34, n)),
        hour=rng.uniform(-30, 50, n), x1=far(), y1=far(), x2=far(), y2=far()), index=rng.permutation(n))

SPEC = dict(player='who', cell=('x','y'), place=('x','y'), bag=[('x1','y1'),('x2','y2')],
            near=[('x1','y1'),('x2','y2')], dist='dist', hour='hour')
GRIDS = dict(cell=Grid((8,20), (0,40), (0,50)), place=Grid((8,20), (0,40), (0,50)), bag=Grid((4,4), (0,12), (0,12)),
             near=Grid((4,4), (0,12), (0,12)),
    dist=Nodes([0,1,2.5,5,9,14,20,26,32]), hour=Nodes(range(0, 24, 3), period=24))
LOOKUP = dict(place='bilinear', near='bilinear')
whole = lambda df=None, **kw: EventDesign.from_table(table() if df is None else df, SPEC,
        **dict(grids=GRIDS, lookup=LOOKUP)|kw)
dense = lambda d, name: d.weights[name].toarray()

def same(a, b, atol=0):
    "Two designs alike in modes, indices and weights."
    assert [(m.name, m.size, m.labels, m.shape)
            for m in a.modes]==[(m.name, m.size, m.labels, m.shape) for m in b.modes]
    assert len(a)==len(b) and list(a.idx)==list(b.idx) and list(a.weights)==list(b.weights)
    for k,v in a.idx.items(): assert v.dtype==b.idx[k].dtype==torch.int64 and torch.equal(v.cpu(), b.idx[k].cpu())
    for k,X in a.weights.items(): np.testing.assert_allclose(X.toarray(), b.weights[k].toarray(), rtol=0, atol=atol)

def test_a_design_looks_where_the_table_says():
    df,d = table(),whole()
    assert ([m.name for m in d.modes]==list(SPEC) and list(d.idx)==['player','cell','bag']
            and list(d.weights)==['place','near','dist','hour'])
    assert d.modes[0].labels==['ann','bob','cem'] and [m.shape for m in d.modes]==[(3,), (8,20), (9,21),
            (4,4), (5,5), (9,), (8,)]
    assert d.idx['player'][:,0].tolist()==[['ann','bob','cem'].index(w) for w in df.who]
    assert d.idx['cell'][:,0].tolist()==[int(y//5)*20+int(x//2.5) for x,y in zip(df.x, df.y)]
    cell = lambda x,y: int(y//3)*4+int(x//3) if 0<=x<12 and 0<=y<12 else -1
    assert d.idx['bag'].tolist()==[[cell(r.x1, r.y1), cell(r.x2, r.y2)] for r in df.itertuples()]
    lattice = Nodes.of(GRIDS['place']); corners = Nodes.of(GRIDS['near']); ok = lambda x,y: 0<=x<=12 and 0<=y<=12
    np.testing.assert_allclose(dense(d, 'place'), [brute(lattice, y, x) for x,y in zip(df.x, df.y)], atol=1e-12)
    np.testing.assert_allclose(dense(d, 'near'),
                               [sum([brute(corners, y, x) for x,y in ((r.x1, r.y1), (r.x2, r.y2)) if ok(x, y)],
                                    np.zeros(25)) for r in df.itertuples()], atol=1e-12)
    np.testing.assert_allclose(dense(d, 'dist'),
                               [np.zeros(9) if np.isnan(v) else brute(GRIDS['dist'], np.clip(v, 0, 32))
                                for v in df.dist], atol=1e-12)
    np.testing.assert_allclose(dense(d, 'hour'), [brute(GRIDS['hour'], v) for v in df.hour], atol=1e-12)

def test_a_nodes_in_place_of_a_grid_and_one_lookup_for_all():
    df = table(); n = Nodes([0,10,25,40], [0,20,50])
    d = EventDesign.from_table(df, dict(a=('x','y'), b=[('x1','y1')]), dict(a=n, b=GRIDS['bag']))
    assert list(d.idx)==['b'] and d.modes[0].nodes is n
    np.testing.assert_array_equal(dense(d, 'a'), n.lookup(df.y, df.x).toarray())
    both = EventDesign.from_table(df, dict(a=('x','y'), b=[('x1','y1')]),
                                  dict(a=GRIDS['cell'], b=GRIDS['bag']), lookup='bilinear')
    assert both.idx=={} and [m.shape for m in both.modes]==[(9,21), (5,5)]

EDGE = pd.DataFrame(dict(x=[0., 50., 25., 50., 51.], y=[40., 20., 0., 40., 20.])) # the last one is outside
FAR = pd.DataFrame(dict(x1=[0., 12., 3., 12.5], y1=[12., 3., np.nan, 3.], x2=[np.nan]*4, y2=[np.nan]*4))

@pytest.mark.parametrize('lookup', ['cell', 'bilinear'])
@pytest.mark.parametrize('outside', [None, 'raise', 'drop', 'clip'])
def test_places_outside(lookup, outside):
    make = lambda df: EventDesign.from_table(df, dict(p=('x','y')), dict(p=GRIDS['cell']),
                                             lookup=lookup, outside=outside)
    # no cell has the upper ends
    refused = {('cell',None): 4, ('cell','raise'): 4, ('bilinear',None): 1,
               ('bilinear','raise'): 1}.get((lookup,outside))
    if refused:
        with pytest.raises(DataError, match=f'{refused} of 5 points lie outside'): make(EDGE)
        with pytest.raises(DataError, match='1 of 5 points lie outside'):
            make(EDGE.assign(x=[1.,2.,3.,np.nan,4.], y=1.))
        return
    d = make(EDGE)
    if lookup=='cell':
        assert d.idx['p'].ravel().tolist()==([7*20, 4*20+19, 10, 7*20+19, 4*20+19]
                                             if outside=='clip' else [-1,-1,10,-1,-1])
        return
    at = dense(d, 'p').reshape(5, 9, 21); on = [(8,0), (4,20), (0,10), (8,20), (4,20)]
    for i,(r,c) in enumerate(on): assert at[i].sum()==at[i,r,c]==(0 if outside=='drop' and i==4 else 1)

@pytest.mark.parametrize('lookup', ['cell', 'bilinear'])
@pytest.mark.parametrize('outside', [None, 'raise', 'drop', 'clip'])
def test_bags_outside(lookup, outside):
    make = lambda df: EventDesign.from_table(df, dict(b=SPEC['bag']), dict(b=GRIDS['bag']),
                                             lookup=lookup, outside=outside)
    if outside=='raise':
        with pytest.raises(DataError, match=f'{3 if lookup=="cell" else 1} of 3 points lie outside'): make(FAR)
        # a missing point is none
        inside = make(FAR.assign(x1=[1., np.nan, 3., 4.])) if lookup=='bilinear' else make(FAR.assign(x1=[1.,
                np.nan, 3., 4.], y1=[1., 1., np.nan, 3.]))
        assert ((inside.idx['b']>=0).sum(1).tolist()==[1,0,0,1] if lookup=='cell'
                else inside.weights['b'].getnnz(1).tolist()[1:3]==[0,0])
        return
    d = make(FAR)
    if lookup=='cell':
        assert d.idx['b'].tolist()==([[12,-1], [7,-1], [-1,-1], [7,-1]] if outside=='clip' else [[-1,-1]]*4)
        return
    np.testing.assert_allclose(d.weights['b'].sum(1).A1, [1, 1, 0, 1 if outside=='clip' else 0])
    assert dense(d, 'b').reshape(4, 5, 5)[0,4,0]==1 and dense(d, 'b').reshape(4, 5, 5)[1,1,4]==1

@pytest.mark.parametrize('outside', [None, 'raise', 'drop', 'clip'])
def test_numbers_outside(outside):
    make = lambda v, nodes=Nodes([0,2,3]): EventDesign.from_table(pd.DataFrame(dict(v=v)), dict(c='v'),
            dict(c=nodes), outside=outside)
    if outside=='raise':
        for v in ([1., 3.5], [1., -1.], [1., np.nan]):
            with pytest.raises(DataError, match='1 of 2'): make(v)
        assert dense(make([0., 3.]), 'c').tolist()==[[1,0,0], [0,0,1]]; return
    last = [0,0,0] if outside=='drop' else [0,0,1]; first = [0,0,0] if outside=='drop' else [1,0,0]
    assert dense(make([3., 3.5, -1., np.nan, 1.]), 'c').tolist()==[[0,0,1], last, first, [0,0,0], [.5,.5,0]]
    with pytest.raises(DataError, match='1 infinite'): make([1., np.inf])

def test_outside_by_mode():
    df = table().assign(x=lambda t: t.x+3)
    with pytest.raises(DataError, match='lie outside'): whole(df, outside=dict(cell='clip'))
    d = whole(df, outside=dict(cell='clip', place='drop'))
    off = (df.x>50).values
    assert off.any() and (d.idx['cell'][off,0]%20==19).all() and (d.weights['place'].getnnz(1)[off]==0).all()

def test_every_kind_of_mode_is_the_same_when_coarser():
    d,rng = whole(),np.random.default_rng(6); fine = {m.name: m for m in d.modes}
    levels = [dict(cell=(4,10), bag=(2,2), place=(4,10), near=(2,2), dist=(4,), hour=(4,)),
              dict(cell=(2,5), bag=(1,1), place=(2,5), near=(1,1), dist=2, hour=2),
              dict(place=(8,4), hour=(8,)), dict(dist=(1,))]
    for level in levels:
        low = d.at(level); coarse = {m.name: m for m in low.modes}; assert len(low)==len(d)
        for k in ('place','near','dist','hour'):
            assert coarse[k].nodes.shape==tuple(np.atleast_1d(level.get(k,
                    fine[k].nodes.shape))) and coarse[k].size==low.weights[k].shape[1]==coarse[k].nodes.D
            Q = fine[k].nodes.prolongation(coarse[k].nodes); f = rng.normal(size=Q.shape[1])
            np.testing.assert_allclose(low.weights[k]@f, d.weights[k]@(Q@f), atol=1e-12)
        again = whole(grids=GRIDS|{k: m.grid or m.nodes for k,m in coarse.items() if m.grid or m.nodes})
        for k in low.weights: np.testing.assert_allclose(dense(low, k), dense(again, k), atol=1e-12)
        for k in low.idx: assert torch.equal(low.idx[k], again.idx[k])
    same(d.at(levels[0]).at(levels[1]), d.at(levels[1]), 1e-12)

def test_levels_that_are_none():
    d = whole()
    for bad in (dict(place=(3,5)), dict(dist=(3,)), dict(cell=(4,10)), dict(court=(2,2)), (4,10)):
        with pytest.raises(ScheduleError): d.at(bad)
    one = EventDesign.from_table(table(), dict(p=('x','y'), d='dist'),
                                 dict(p=GRIDS['place'], d=GRIDS['dist']), lookup='bilinear')
    same(one.at((4,10)), one.at(dict(p=(4,10)))); same(one.at({}), one)
    with pytest.raises(ScheduleError, match=r'\(d\), as a dict'):
        EventDesign.from_table(table(), dict(d='dist'), dict(d=GRIDS['dist'])).at((4,10))

@pytest.mark.parametrize('rows', [[0,5,5,-1], np.arange(300)%7==0, torch.tensor([3,2]), [], slice(10, 20),
                                  np.zeros(300, bool)], ids=['list','mask','tensor','none','slice','empty mask'])
def test_take_and_hold(rows):
    d,df = whole(),table(); part = d.hold(rows) if isinstance(rows, slice) else d.take(rows)
    kept = df.iloc[rows if isinstance(rows, slice) else np.arange(300)[np.asarray(rows, int if len(rows)==0 else None)]]
    same(part, whole(kept, labels=dict(player=['ann','bob','cem'])))

def test_hold_has_memory_of_its_own():
    d = whole(); part = d.hold(slice(0, 50)); X,Y = d.weights['place'],part.weights['place']
    assert not np.shares_memory(X.data, Y.data) and not np.shares_memory(X.indices,
            Y.indices) and part.idx['cell'].data_ptr()!=d.idx['cell'].data_ptr()
    before = d.weights['place'].copy(); Y.data[:] = 9; part.idx['cell'][:] = 0
    assert (d.weights['place']!=before).nnz==0 and d.idx['cell'].any()

def test_to_keeps_all():
    for where in ('cpu', torch.float32): same(whole().to(where), whole())

def test_batches_hold_indices():
    d = whole(); b = d.batch(torch.tensor([4,1]))
    assert list(b.idx)==list(d.idx) and torch.equal(b.idx['bag'], d.idx['bag'][[4,1]])

def test_a_design_by_hand_is_checked():
    n = Nodes([0,1,2]); m = [Mode('c', 3, indexed=True, nodes=n)]; X = n.lookup([0., .5])
    assert len(EventDesign({}, m, dict(c=X)))==2 and len(EventDesign({}, m, dict(c=X.tocoo())).take([1]))==1
    with pytest.raises(DataError, match='c has 3 nodes.*2 columns'): EventDesign({}, m, dict(c=X[:,:2]))
    for i in (2, -2, 5):
        with pytest.raises(DataError, match=r'indices of a must lie in 0\.\.1, or be -1'):
            EventDesign(dict(a=[0, i]), [Mode('a', 2, indexed=True)])
    with pytest.raises(DataError, match='same number of samples'):
        EventDesign(dict(a=[0]), [Mode('a', 1, indexed=True), *m], dict(c=X))

# ---- parts, and a table like another

@pytest.mark.parametrize('size', [1, 64, 299, 300])
def test_parts_are_the_whole(size):
    df = table(); parts = lambda: (df[i:i+size] for i in range(0, 300, size))
    same(EventDesign.from_chunks(parts(), SPEC, GRIDS, dict(player=['ann','bob','cem']), LOOKUP), whole())
    same(EventDesign.from_chunks(parts(), SPEC, like=whole()), whole())
    off = table().assign(x=lambda t: t.x+3); cut = dict(cell='clip', place='drop')
    same(EventDesign.from_chunks((off[i:i+size] for i in range(0, 300, size)), SPEC, GRIDS,
                                 dict(player=np.array(['ann','bob','cem'])), LOOKUP, cut), whole(off, outside=cut))

def test_parts_need_labels_and_nodes_ahead():
    df = table().assign(yes=lambda t: t.x>20)
    for spec,text in ((dict(player='who'), 'labels of player'), (dict(d='dist'), 'nodes of d.*or its labels'),
                      (dict(flag='yes'), 'labels of flag')):
        with pytest.raises(DataError, match=text): EventDesign.from_chunks([df], spec)
        with pytest.raises(DataError, match='labels of'):
            EventDesign.from_chunks([df], spec, labels={k: True for k in spec})

def test_like_takes_labels_grids_and_nodes():
    d = whole(); new = table(50, seed=9).assign(who=lambda t: t.who.replace('bob', 'new'))
    a = EventDesign.from_table(new, SPEC, like=d); same(a, whole(new, labels=dict(player=['ann','bob','cem'])))
    assert ((a.idx['player'][(new.who=='new').values]==-1).all() and (new.who=='new').any()
            and (a.idx['player']>=0).any())
    assert all(m.nodes is k.nodes and m.grid is k.grid for m,k in zip(a.modes, d.modes))
    own = EventDesign.from_table(new, dict(v='dist', who='who'))
    other = EventDesign.from_table(new.assign(dist=new.dist*2), dict(v='dist', who='who'), like=own)
    assert other.modes[0].nodes is own.modes[0].nodes # nodes that followed from the data
    # some of the modes
    part = EventDesign.from_table(new, dict(dist='dist'), like=d); assert [m.name for m in part.modes]==['dist']

def test_what_is_given_wins_over_like():
    d = whole(); new = table(50, seed=9); n = Nodes([0,40])
    a = EventDesign.from_table(new, SPEC, grids=dict(dist=n), labels=dict(player=['cem']), like=d)
    assert a.modes[5].nodes is n and a.modes[0].labels==['cem'] and a.modes[6].nodes is d.modes[6].nodes
    # numbers that are amounts after all
    ids = EventDesign.from_table(new.assign(who=np.arange(50)), dict(player='who'), dict(player=n), like=d)
    assert ids.modes[0].nodes is n and ids.idx=={}

def test_like_a_design_whose_entries_have_no_names():
    d = EventDesign(dict(player=[[0],[4]]), [Mode('player', 5, indexed=True)])
    a = EventDesign.from_table(pd.DataFrame(dict(id=[3, 7, 0])), dict(player='id'), like=d)
    assert a.idx['player'].ravel().tolist()==[3, -1, 0] and a.modes[0].size==5

def test_like_another_model_is_refused():
    with pytest.raises(DataError, match='no mode court; it has player, cell'):
        EventDesign.from_table(table(), dict(court=('x','y')), like=whole())

# ---- labels or amounts

@pytest.mark.parametrize('values,curve',
                         [([.5, 1.5, 2.5], True), ([1, 5, 9], True), (np.array([1, 5, 9], 'int8'), True),
                          (pd.array([1, None, 9], dtype='Int64'), True), (['a', 'b', 'a'], False),
    ([True, False, True], False), (pd.Categorical([3, 1, 3]), False),
    (pd.to_datetime(['2020-01-01', '2021-01-01', '2020-01-01']), False)],
    ids=['float','int','int8','Int64','text','bool','category','dates'])
def test_what_makes_a_curve(values, curve):
    df = pd.DataFrame(dict(v=values)); nodes = dict(v=Nodes([0,10])) if curve else None
    with warnings.catch_warnings():
        warnings.simplefilter('error') # with nodes given nothing is said
        d = EventDesign.from_table(df, dict(v='v'), nodes)
    assert ('v' in d.weights)==curve and (curve or d.idx['v'].max()==1)
    if not df.v.isna().any():
        assert EventDesign.from_table(df, dict(v='v'), labels=dict(v=True)).modes[0].size==df.v.nunique()

@pytest.mark.parametrize('values,warned', [([7, 23, 7], True), ([7., 23., np.nan], True), ([7.5, 23., 7.], False)])
def test_whole_numbers_warn_where_the_call_stands(values, warned):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always'); EventDesign.from_table(pd.DataFrame(dict(v=values)), dict(who='v'))
    assert len(said)==warned
    if warned:
        assert ("column v holds whole numbers" in str(said[0].message)
                and "labels={'who': True}" in str(said[0].message) and said[0].filename==__file__)

def test_nodes_from_the_data():
    v = np.r_[np.random.default_rng(7).exponential(5, 1300), np.nan]
    d = EventDesign.from_table(pd.DataFrame(dict(v=v)), dict(c='v'))
    axis = d.modes[0].nodes.axes[0]
    assert len(axis)==13 and axis[0]==np.nanmin(v) and axis[-1]==np.nanmax(v)
    inside = np.histogram(v[:-1], axis)[0]; assert inside.min()>=107 and inside.max()<=110 # 1300 rows in 12 intervals
    ties = EventDesign.from_table(pd.DataFrame(dict(v=[0.]*90+[.5, 2.])), dict(c='v')).modes[0].nodes.axes[0]
    assert ties.tolist()==[0., 2.]
    for bad in ([1.5, 1.5], [np.nan, np.nan], [np.nan, 2.5]):
        with pytest.raises(DataError, match='no two different numbers'):
            EventDesign.from_table(pd.DataFrame(dict(v=bad)), dict(c='v'))

def test_unseen_and_missing_labels():
    df = pd.DataFrame(dict(who=[5, 3, 8, 3]))
    d = EventDesign.from_table(df, dict(p='who'), labels=dict(p=[3, 5]))
    assert d.idx['p'].ravel().tolist()==[1,0,-1,0] and d.modes[0].labels==[3, 5]
    with pytest.raises(DataError, match='2 missing labels'):
        EventDesign.from_table(pd.DataFrame(dict(who=['a', None, np.nan])), dict(p='who'))
    with pytest.raises(DataError, match='labels of p occur twice: 3'):
        EventDesign.from_table(df, dict(p='who'), labels=dict(p=[3, 5, 3]))

def test_names_that_are_not_there():
    df = table()
    with pytest.raises(DataError, match='no column z, x9; it has who, x'):
        EventDesign.from_table(df, dict(a=('x','z'), b=[('x9','y')]), dict(a=GRIDS['cell'], b=GRIDS['bag']))
    for kw in (dict(grids=dict(cort=GRIDS['cell'])), dict(labels=dict(cort=True)),
               dict(lookup=dict(cort='bilinear')), dict(outside=dict(cort='clip'))):
        with pytest.raises(DataError, match=f"{next(iter(kw))} names 'cort', but the modes are 'court'"):
            EventDesign.from_table(df, dict(court=('x','y')), **dict(grids=dict(court=GRIDS['cell']))|kw)

def test_options_that_are_not_there():
    df = table()
    with pytest.raises(DataError, match='needs a Grid'): EventDesign.from_table(df, dict(court=('x','y')))
    with pytest.raises(DataError, match="'cell' or 'bilinear'"): whole(lookup='nearest')
    with pytest.raises(DataError, match="'drop', 'clip' or 'raise'"): whole(outside='fold')
    with pytest.raises(DataError, match='needs Nodes of one axis.*Grid'):
        EventDesign.from_table(df, dict(d='dist'), dict(d=GRIDS['cell']))
    with pytest.raises(DataError, match='2 axes|1 axes'):
        EventDesign.from_table(df, dict(d=('x','y')), dict(d=GRIDS['dist']))

def test_an_empty_table():
    d = whole(table()[:0], labels=dict(player=['ann']))
    assert len(d)==0 and d.weights['place'].shape==(0, 189) and len(d.at(dict(place=(4,10))))==0
