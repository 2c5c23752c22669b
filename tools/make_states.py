"""Make mrtl/states.npz, the outlines that `mrtl.climate.regions.state_outlines` gives. Run once, with npm at hand:

    npm pack us-atlas@3; tar xf us-atlas-3.*.tgz --one-top-level=us
    python tools/make_states.py us/package/states-10m.json mrtl/states.npz

The states are the US Census Bureau's at 1:10 million, in the public domain (the npm package that carries them is
under the ISC licence). Each border line is thinned
by itself, so that neighbours keep one border between them. The file holds the points of all rings one after another
in thousandths of a degree (int32, longitude and
latitude), as `starts` where each ring begins, as `state` the postal code of each ring, and as `source` where they
are from, with the notice that the ISC licence asks for.
"""
import json, sys
import numpy as np
from make_coastlines import SOURCE, arcs, thin

POSTAL = dict(zip('01 02 04 05 06 08 09 10 11 12 13 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 '
                  '36 37 38 39 40 41 42 44 45 46 47 48 49 50 51 53 54 55 56'.split(),
                  'AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM '
                  'NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY'.split()))
TOLERANCE = .005
SOURCE = ('States: US Census Bureau 1:10m, thinned. Public domain, taken from the npm package '
          'us-atlas 3:\n'+SOURCE.split('\n', 1)[1])

def thin_arc(line, tol=TOLERANCE):
    "A thinner line with the same ends; one that closes upon itself keeps four points or more."
    if len(line)<5 or not np.allclose(line[0], line[-1]): return thin(line, tol) if len(line)!=4 else line
    k = 1+int(np.hypot(*(line[1:-1]-line[0]).T).argmax())
    out = np.concatenate([thin(line[:k+1], tol), thin(line[k:], tol)[1:]])
    return out if len(out)>3 else line

def ring(numbers, lines):
    "The points of a ring, joined from its arcs; the last repeats the first."
    parts = [lines[i] if i>=0 else lines[~i][::-1] for i in numbers]
    return np.concatenate([parts[0]]+[p[1:] for p in parts[1:]])

def main(states, out):
    topology = json.load(open(states)); lines = [thin_arc(a) for a in arcs(topology)]
    rings,codes = [],[]
    for g in sorted(topology['objects']['states']['geometries'], key=lambda g: g['id']):
        if g['id'] not in POSTAL: continue
        for polygon in g['arcs'] if g['type']=='MultiPolygon' else [g['arcs']]:
            for r in (np.rint(1000*ring(numbers, lines)).astype('int32') for numbers in polygon):
                if len(np.unique(r, axis=0))>2: rings.append(r); codes.append(POSTAL[g['id']])
    np.savez_compressed(out, points=np.concatenate(rings),
                        starts=np.cumsum([0]+[len(r) for r in rings[:-1]]).astype('int32'), state=np.array(codes),
                        source=np.array(SOURCE))
    print(len(set(codes)), 'states,', len(rings), 'rings,', sum(map(len, rings)), 'points')

if __name__=='__main__': main(*sys.argv[1:])
