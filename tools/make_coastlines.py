"""Make mrtl/coastlines.npz, the lines that `mrtl.panels.coastlines` draws. Run once, with npm at hand:

    npm pack world-atlas@2 us-atlas@3
    tar xf world-atlas-2.*.tgz --one-top-level=world; tar xf us-atlas-3.*.tgz --one-top-level=us
    python tools/make_coastlines.py world/package/land-110m.json us/package/states-10m.json mrtl/coastlines.npz

Land is Natural Earth's at 1:110 million, states are the US Census Bureau's at 1:10 million, thinned here; both are
in the public domain
(the two npm packages that carry them are under the ISC licence). The file holds, for `land` and for `states`, the
points of all lines
one after another in hundredths of a degree (int16, longitude and latitude) and, as `<name>_starts`, where each line
begins; `source` says where the lines are from, with the notice that the ISC licence asks for.
"""
import json, sys
import numpy as np

SOURCE = """Land: Natural Earth 1:110m. States: US Census Bureau 1:10m, thinned. Both public domain, taken from the npm packages world-atlas 2 and us-atlas 3:
Copyright 2013-2019 Michael Bostock. Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies. THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES
WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT,
OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE."""

def arcs(topology):
    "The lines of a TopoJSON file in degrees: its integers are steps from point to point."
    scale,shift = (np.array(topology['transform'][k]) for k in ('scale', 'translate'))
    return [np.cumsum(a, axis=0)*scale + shift for a in topology['arcs']]

def uses(node, found):
    "Collect the lines used by the outlines below `node` (a negative index is the line reversed)."
    if isinstance(node, int): found.add(node if node>=0 else ~node)
    else:
        for n in node: uses(n, found)
    return found

def mend(line):
    """Let longitude run on past 180 instead of jumping, near zero, and drop what only follows the 180th meridian,
    where the sources cut the world open."""
    seam = np.isclose(np.abs(line[:,0]), 180)
    lon = np.unwrap(line[:,0], period=360); lon -= 360*np.round((lon.min()+lon.max())/720)
    parts = np.split(np.c_[lon,line[:,1]], np.flatnonzero(seam[:-1] & seam[1:])+1)
    return [p for p in parts if len(p)>1]

def thin(line, tol):
    "Douglas and Peucker's rule: keep the fewest points so that the line moves nowhere by more than `tol` degrees."
    keep,todo = {0,len(line)-1},[(0,len(line)-1)]
    while todo:
        i,j = todo.pop()
        if j-i<2: continue
        a,d = line[i],line[j]-line[i]; rest = line[i+1:j]-a; n2 = d@d
        off = rest - np.clip(rest@d/n2, 0, 1)[:,None]*d if n2 else rest
        far = np.hypot(*off.T); k = i+1+int(far.argmax())
        if far.max()>tol: keep.add(k); todo += [(i,k), (k,j)]
    return line[sorted(keep)]

def pack(lines):
    "Points in hundredths of a degree and where each line begins."
    pts = [np.rint(100*l).astype('int16') for l in lines]
    return np.concatenate(pts),np.cumsum([0]+[len(p) for p in pts[:-1]]).astype('int32')

def main(land, states, out):
    land,states = (json.load(open(f)) for f in (land, states))
    coast = [l for a in arcs(land) for l in mend(a)]
    used = uses([g['arcs'] for g in states['objects']['states']['geometries'] if int(g['id'])<60], set())
    lines = arcs(states)
    inner = [thin(l, .02) for i in sorted(used) for l in mend(lines[i])]
    d = dict(source=np.array(SOURCE))
    for name,ls in (('land', coast), ('states', inner)): d[name],d[f'{name}_starts'] = pack(ls)
    np.savez_compressed(out, **d)
    print({k:v.shape for k,v in d.items()})

if __name__=='__main__': main(*sys.argv[1:])
