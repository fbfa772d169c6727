#!/usr/bin/env python3
"""Finds circles: modules of one crate that import each other, directly or through others.

A file depends on another one when a path in it (`crate::a::B`, `super::B`, `child::B`, in a `use` or
in an expression) leads there; a re-export (`pub use`) is followed to the file that has the item.
Tests do not count. Modules beside each other in one folder, each with all that is below it, must not
form a circle. A module and its own parts may know each other (a trait in `mod.rs` and what implements
it below), unless `--strict` counts these too, file by file.

Prints each circle with the paths that close it, and exits with 1 if there is one.

    scripts/circles.py [--strict] [CRATE_FOLDER...]     all of crates/ unless some are named
"""

import re
import sys
from pathlib import Path

IDENT = r"[A-Za-z_][A-Za-z0-9_]*"
ROOTS = {"lib.rs", "main.rs"}


def without_tests(text):
    """The code of a file without comments, texts and what is compiled for tests alone."""
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', re.sub(r"//[^\n]*", "", text))
    text = re.sub(r"#!?\[cfg_attr\(test[^\n]*", "", text)
    gate = r"^( *)#\[cfg\((?:test|all\(test[^\]]*\))\)\]\n(?: *#\[[^\n]*\n)*"
    text = re.sub(gate + r" *(?:pub(?:\([a-z]+\))? )?(?:mod|use) [^;{]*;", "", text, flags=re.M)
    return re.sub(gate + r"[^\n]*\{\n.*?^\1\}", "", text, flags=re.M | re.S)


def expand(tree):
    """The paths of a `use` tree, each as (segments, name here)."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, name = tree.partition(" as ")
        segments = [part.strip() for part in path.split("::") if part.strip()]
        if segments and segments[-1] == "self" and len(segments) > 1:
            segments.pop()
        return [(segments, name.strip() or (segments[-1] if segments else ""))]
    head = [part.strip() for part in tree[:brace].split("::") if part.strip()]
    inner, depth, start, paths = tree[brace + 1 : tree.rfind("}")], 0, 0, []
    for at, char in enumerate(inner + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if inner[start:at].strip():
                for segments, name in expand(inner[start:at]):
                    if segments == ["self"]:
                        segments, name = [], name if name != "self" else head[-1]
                    paths.append((head + segments, name))
            start = at + 1
    return paths


class Crate:
    """One crate's files as modules, named by their path below its root file."""

    def __init__(self, root):
        self.base = root.parent
        self.files, self.code, self.exports, self.found = {(): root}, {}, {}, {}
        queue = [()]
        while queue:
            module = queue.pop()
            code = self.code[module] = without_tests(self.files[module].read_text())
            place = self.files[module]
            inside = place.parent if place.name in ROOTS | {"mod.rs"} else place.with_suffix("")
            for name in re.findall(rf"^ *(?:pub(?:\([^)]*\))? )?mod ({IDENT});", code, re.M):
                child = next(
                    (p for p in (inside / f"{name}.rs", inside / name / "mod.rs") if p.exists()), None
                )
                if child:
                    self.files[(*module, name)] = child
                    queue.append((*module, name))
        for module, code in self.code.items():
            self.exports[module] = {}
            for tree in re.findall(r"\bpub(?:\([^)]*\))? use ([^;]+);", code):
                for path, name in expand(tree):
                    self.exports[module][name] = path
            uses = [p for tree in re.findall(r"\buse ([^;]+);", code) for p, _ in expand(tree)]
            rest = re.sub(r"\buse [^;]+;", "", code)
            paths = [p.split("::") for p in re.findall(rf"(?<![\w:])(?:{IDENT}::)+(?:{IDENT}|\*)", rest)]
            own = re.findall(r"\bpub(?:\([^)]*\))? use ([^;]+);", code)
            reexported = [p for tree in own for p, _ in expand(tree)]
            names = {}
            for tree in re.findall(r"\buse ([^;]+);", code):
                names.update({name: path for path, name in expand(tree)})
            self.found[module] = (uses, paths, reexported, names)

    def absolute(self, module, path):
        """A path from the crate's root; `None` for one of another crate."""
        path = list(path)
        if not path:
            return None
        if path[0] == "crate":
            return tuple(path[1:])
        here = list(module)
        if path[0] == "self":
            return (*here, *path[1:])
        if path[0] == "super":
            while path and path[0] == "super":
                if not here:
                    return None
                here.pop()
                path.pop(0)
            return (*here, *path)
        return (*here, *path) if (*here, path[0]) in self.files else None

    def target(self, path, depth=0):
        """The module that has what an absolute path names."""
        length = next(n for n in range(len(path), -1, -1) if path[:n] in self.files)
        module, rest = path[:length], path[length:]
        if rest and depth < 8:
            exported = self.exports[module].get(rest[0])
            onward = exported and self.absolute(module, exported)
            if onward and onward[: len(path)] != path:
                return self.target((*onward, *rest[1:]), depth + 1)
        return module

    def edges(self):
        """Module to the modules it depends on, each with one path that says so."""
        edges = {module: {} for module in self.files}
        for module, (uses, paths, reexported, names) in self.found.items():
            for path in uses + paths:
                if path in reexported:
                    continue
                # A name that was imported stands for its path; the import itself is counted.
                if path[0] in names and path not in uses:
                    path = [*names[path[0]], *path[1:]]
                absolute = self.absolute(module, path)
                # A module that is only named, to be used with its name before an item, is judged
                # by those items.
                if absolute is None or (path in uses and absolute in self.files and absolute):
                    continue
                target = self.target(absolute)
                if target != module:
                    edges[module].setdefault(target, "::".join(path))
        return edges


def circles(edges):
    """Strongly connected components of more than one node (Tarjan, without recursion)."""
    index, low, stack, on, found = {}, {}, [], set(), []
    for start in edges:
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on.add(start)
        while work:
            node, following = work[-1]
            onward = next(following, None)
            if onward is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while not part or part[-1] != node:
                        part.append(stack.pop())
                        on.discard(part[-1])
                    if len(part) > 1:
                        found.append(sorted(part))
            elif onward not in index:
                index[onward] = low[onward] = len(index)
                stack.append(onward)
                on.add(onward)
                work.append((onward, iter(edges[onward])))
            elif onward in on:
                low[node] = min(low[node], index[onward])
    return found


def rooms(edges):
    """The edges between modules that are beside each other, by the module that holds them; each with
    the edges of files it stands for."""
    levels = {}
    for module, targets in edges.items():
        for target, path in targets.items():
            shared = 0
            while module[shared : shared + 1] == target[shared : shared + 1] != ():
                shared += 1
            if shared in (len(module), len(target)):
                continue
            level = levels.setdefault(module[:shared], {})
            ends = level.setdefault(module[: shared + 1], {}), level.setdefault(target[: shared + 1], {})
            ends[0].setdefault(target[: shared + 1], []).append((module, target, path))
    return levels


def by_file(edges):
    """The edges of files as they are, in the same form."""
    of = lambda module: {target: [(module, target, path)] for target, path in edges[module].items()}
    return {(): {module: of(module) for module in edges}}


def main():
    top = Path(__file__).resolve().parent.parent
    named = [name for name in sys.argv[1:] if name != "--strict"]
    levels_of = by_file if "--strict" in sys.argv else rooms
    crates = [Path(name).resolve() for name in named] or sorted((top / "crates").iterdir())
    count = 0
    for crate in crates:
        roots = [crate / "src/lib.rs", crate / "src/main.rs", *sorted(crate.glob("src/bin/*/main.rs"))]
        for root in filter(Path.exists, roots):
            graph = Crate(root)
            file = lambda module: graph.files[module].relative_to(crate)
            for level in levels_of(graph.edges()).values():
                for circle in circles(level):
                    count += 1
                    print(f"{crate.name}: a circle of {', '.join('::'.join(m) or 'the root' for m in circle)}")
                    within = [edge for m in circle for t in level[m] if t in circle for edge in level[m][t]]
                    for module, target, path in sorted(within):
                        print(f"  {file(module)} -> {file(target)}  ({path})")
    print(f"{count} circle{'' if count == 1 else 's'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
