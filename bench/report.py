# SPDX-License-Identifier: MIT
"""Runs ferrite_bench on every instruction set of the machine and makes one page of the results; bench/report calls it.
With --from DIR it runs nothing and makes the page of the JSON files that are there."""
import argparse
import base64
import datetime
import html
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ISAS = ("avx512", "avx2", "scalar")
OWN = "Ferrite"
PEERS = ("OpenBLAS", "BLIS", "Eigen", "libxsmm", "oneDNN", "by hand")
COLOURS = {
    OWN: "#0072B2",
    "OpenBLAS": "#D55E00",
    "BLIS": "#009E73",
    "Eigen": "#CC79A7",
    "libxsmm": "#E69F00",
    "oneDNN": "#56B4E9",
    "by hand": "#777777",
}
POINTS = {OWN: 7, "OpenBLAS": 5, "BLIS": 9, "Eigen": 11, "libxsmm": 13, "oneDNN": 15, "by hand": 2}

# The first parts of a case's name, what the group is called, and what is in it.
GROUPS = (
    (
        "peak",
        "The machine",
        "What the kernels are measured against: fused multiply-adds from registers, and reading and copying "
        "from each level of memory. From so many operations a byte on, a kernel can reach the peak with data from "
        "there.",
    ),
    ("product/cube", "Square products", "c = a b."),
    ("product/xW", "Forward: x W + b", "Named batch x inputs x outputs. The peers do not add the bias."),
    ("product/xTdy", "Weight gradient: xᵀ dy", "Stored, without an optimizer."),
    ("product/dyWT", "Input gradient: dy Wᵀ", "libxsmm has no kernel for it."),
    ("product/outputs10", "Ten outputs", "The last layer of a classifier."),
    ("product/batch10", "Batch 10", "All three products."),
    ("product/batch8", "Batch 8", ""),
    ("product/batch1", "One sample", "Every weight is used once: the limit is reading W from the cache that it is in."),
    (
        "dense_update",
        "Weight gradient and update in one",
        "The optimizer takes the gradient while it is in the nearest cache. Batch 1: the limit "
        "is reading and writing W and its states; larger batches: the FMA peak.",
    ),
    (
        "train",
        "Training steps",
        "Forward, loss, backward, update. Counted as work: the products, without the gradient of the network's "
        "input. By hand: the same network and the same step, written in plain C++ loops around the products of the peer "
        "that is best at it.",
    ),
    ("predict", "Inference", "predict() of one sample. The limit is reading all weights once."),
    ("optimizer", "Optimizers", "One pass over so many parameters. The limit moves the same streams."),
    ("loss", "Losses", "Value and gradient, batch 100. The limit moves the same streams."),
    ("map", "Maps", "10 000 elements unless named otherwise. The limit moves the same streams."),
    ("batch_norm", "Batch normalization", "100 samples, 100 features. The limit moves the same streams."),
    ("dropout", "Dropout", "10 000 elements; the mask is computed, not stored. The limit moves the same streams."),
    (
        "elementary",
        "Elementary functions",
        "1024 elements in the nearest cache, against a loop over the C library's function.",
    ),
    ("threads", "Threads", "Two threads against one, with the same bits."),
    ("session", "Making a session", "A model that arrives at run time: compile() and bind(), Adam, batch 100."),
)

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--panel:#f6f8fa;--ink:#1f2328;--soft:#57606a;--rule:#d0d7de;--link:#0058a3;
--pass:#11663a;--pass-ground:#dcf3e4;--differs:#8f3200;--differs-ground:#fdebdd}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--panel:#1d232a;--ink:#e3e8ed;--soft:#a0aab4;--rule:#39424c;
--link:#74b9f5;--pass:#8fe0ae;--pass-ground:#12351f;--differs:#ffb587;--differs-ground:#45210c}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,
-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:76rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.45rem;margin:2.5rem 0 .4rem;padding-top:1.5rem;border-top:1px solid var(--rule)}
h3{font-size:1.12rem;margin:2rem 0 .2rem}
a{color:var(--link)}
p{max-width:52rem;margin:.4rem 0}
.soft{color:var(--soft)}
nav{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:.8rem 1.2rem;margin:1.2rem 0;
line-height:1.9}
nav a{white-space:nowrap;margin-right:1rem}
.picture{margin:.8rem 0;overflow-x:auto;border:1px solid var(--rule);border-radius:8px;background:#fff}
.picture img{display:block;margin:0 auto;height:auto;max-width:100%;min-width:min(100%,36rem)}
.table{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:right;padding:.28rem .55rem;border-bottom:1px solid var(--rule);font-variant-numeric:tabular-nums;
white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left;padding-left:0}
td.text{text-align:left;white-space:normal}
tr.mean td{font-weight:600;background:var(--panel)}
.own{font-weight:600}
.best{text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:3px}
.pass{color:var(--pass);background:var(--pass-ground)}
.differs{color:var(--differs);background:var(--differs-ground)}
details>summary{cursor:pointer;color:var(--link);margin:.5rem 0}
@media print{details>*{display:block}.picture,table{break-inside:avoid}}
"""


class Problem(Exception):
    pass


def geomean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


def number(value, digits=3):
    """With so many digits, thousands apart."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, digits - 1 - math.floor(math.log10(abs(value)))):,.{places}f}".replace(",", " ")


def share(value):
    return "–" if value is None else f"{value:.1f}"


class Case:
    """The repetitions of one case as one."""

    def __init__(self, name, runs):
        self.name = name
        self.error = next((r.get("error_message", "failed") for r in runs if r.get("error_occurred")), None)
        self.runs = [] if self.error else runs
        self.limit = runs[0].get("label", "")
        self.target = runs[0].get("target")

    def best(self, key):
        return max((r[key] for r in self.runs if key in r), default=None)

    def least(self, key):
        return min((r[key] for r in self.runs if key in r), default=None)

    def median(self, key):
        values = [r[key] for r in self.runs if key in r]
        return statistics.median(values) if values else None

    def share_of(self, library):
        return self.best("%limit" if library == OWN else library)

    def median_of(self, library):
        return self.median("%median" if library == OWN else library + "_median")

    def best_peer(self):
        found = [(self.share_of(p), p) for p in PEERS if self.share_of(p) is not None]
        return max(found) if found else None


def read(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = {}
        for run in content["benchmarks"]:
            if run.get("run_type") != "aggregate":
                runs.setdefault(run["run_name"], []).append(run)
        return content["context"], [Case(name, r) for name, r in runs.items()]
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Problem(f"{path}: expected a JSON file of ferrite_bench ({type(error).__name__}: {error})") from error


def progress(isa, done, total, name, started):
    if not sys.stderr.isatty():
        print(f"{isa} {done}/{total} {name}", file=sys.stderr, flush=True)
        return
    spent = time.monotonic() - started
    left = f"{spent / done * (total - done):.0f} s left" if done else ""
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
    text = f"{isa} [{'#' * (20 * done // total):20}] {done}/{total} {left:>12}  {name}"
    print("\r\x1b[K" + text[: columns - 1], end="" if done < total else "\n", file=sys.stderr, flush=True)


def run(program, isa, out, quick):
    """Whether this machine has the instruction set. Leaves out/isa.json: three runs of the program, one after the other,
    because repetitions within a run want the same number of iterations each time and a case takes what its time allows."""
    environment = {**os.environ, "FERRITE_ISA": isa}
    listed = subprocess.run(
        [program, "--benchmark_list_tests"], env=environment, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        print(listed.stderr.strip() or f"{program} fails", file=sys.stderr)
        if listed.returncode != 2:
            raise Problem(f"{program} --benchmark_list_tests: exit code {listed.returncode}")
        return False
    names = set(listed.stdout.split())
    file, part, log_file = out / f"{isa}.json", out / f"{isa}.part", out / f"{isa}.log"
    words = [program, f"--benchmark_out={part}", "--benchmark_out_format=json", "--benchmark_counters_tabular=false"]
    words += ["--case_time=0.02"] if quick else []
    repetitions = 1 if quick else 3
    started, done, content = time.monotonic(), 0, None
    with open(log_file, "w", encoding="utf-8") as log:
        for _ in range(repetitions):
            with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as child:
                for line in child.stdout:
                    log.write(line)
                    name = line.split(" ", 1)[0].strip()
                    if name in names:
                        done += 1
                        progress(isa, done, repetitions * len(names), name, started)
                        if " ERROR OCCURRED" in line:
                            print(f"\n{line.strip()}", file=sys.stderr)
            if child.returncode not in (0, 1):
                raise Problem(f"{program} ended with {child.returncode}; see {log_file}")
            found = json.loads(part.read_text(encoding="utf-8"))
            if content is None:
                content = found
            else:
                content["benchmarks"] += found["benchmarks"]
    part.unlink()
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return True


def dots(cases, labels):
    """A picture with a row per case and a mark per library at its share of the limit, and a tick at the target."""
    libraries = [l for l in (*PEERS, OWN) if any(c.share_of(l) is not None for c in cases)]
    rows = len(cases)
    highest = max(c.share_of(l) for c in cases for l in libraries if c.share_of(l) is not None)
    right = max(100, 10 * math.ceil(highest / 10))
    quote = lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    lines = [
        f"set terminal svg size 1000,{124 + 26 * rows} font 'Arial,14' noenhanced background '#ffffff'",
        f"set lmargin at screen {0.02 + 0.0085 * max(map(len, labels)):.3f}",
        "set rmargin at screen 0.97",
        "set bmargin 3.4",
        "set tmargin 2.6",
        "set border 1 lc rgb '#57606a'",
        "set tics nomirror",
        "set ytics scale 0 textcolor rgb '#1f2328'",
        f"set xtics {10 if right <= 150 else 50} textcolor rgb '#57606a'",
        "set xlabel '% of the limit' textcolor rgb '#57606a'",
        "set grid xtics lc rgb '#e3e7eb' lw 1, lc rgb '#e3e7eb' lw 1",
        f"set xrange [0:{right}]",
        f"set yrange [{rows - 0.4}:-0.6]",
        "set key at screen 0.985,screen 0.99 right top horizontal maxrows 1 samplen 0.6 width 0.5",
        "set key textcolor rgb '#1f2328'",
        "set ytics (" + ", ".join(f"{quote(l)} {i}" for i, l in enumerate(labels)) + ")",
    ]
    for i in range(rows):
        lines.append(f"set arrow from 0,{i} to {right},{i} nohead lc rgb '#eef1f4' lw 1 back")
    plots = []
    targets = [(c.target, i) for i, c in enumerate(cases) if c.target]
    if targets:
        lines += ["$target << EOD", *(f"{x} {y} 0 0.36" for x, y in targets), "EOD"]
        plots.append("$target using 1:2:3:4 with vectors nohead lw 3 lc rgb '#1f2328' notitle")
        lines.append("$below << EOD\n" + "\n".join(f"{x} {y} 0 -0.36" for x, y in targets) + "\nEOD")
        plots.append("$below using 1:2:3:4 with vectors nohead lw 3 lc rgb '#1f2328' title 'target'")
    for at, library in enumerate(libraries):
        lines.append(f"$l{at} << EOD")
        lines += [f"{c.share_of(library)} {i}" for i, c in enumerate(cases) if c.share_of(library) is not None]
        lines.append("EOD")
        size = 1.15 if library == OWN else 0.75
        plots.append(
            f"$l{at} using 1:2 with points pt {POINTS[library]} ps {size} lw 1.6 lc rgb '{COLOURS[library]}' "
            f"title {quote(library)}"
        )
    lines.append("plot " + ", ".join(plots))
    try:
        done = subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    except OSError as error:
        raise Problem(f"gnuplot: {error.strerror} (Debian: gnuplot-nox)") from error
    if done.returncode != 0 or "<svg" not in done.stdout:
        raise Problem(f"gnuplot: {done.stderr.strip()}")
    data = base64.b64encode(done.stdout.encode()).decode()
    listed = ", ".join(f"{l} {share(c.share_of(OWN))}" for l, c in zip(labels, cases))
    return (
        f'<div class="picture"><img alt="{html.escape(listed, True)}" src="data:image/svg+xml;base64,{data}"></div>\n'
    )


def table(head, rows):
    """`rows`: lists of cells, each text or (text, class); a row may be (class, cells)."""
    text = '<div class="table"><table>\n'
    if head:
        text += "<thead><tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr></thead>\n"
    text += "<tbody>\n"
    for row in rows:
        kind, cells = row if isinstance(row, tuple) else ("", row)
        text += f'<tr class="{kind}">' if kind else "<tr>"
        for cell in cells:
            content, of = cell if isinstance(cell, tuple) else (cell, "")
            text += (f'<td class="{of}">' if of else "<td>") + html.escape(content) + "</td>"
        text += "</tr>\n"
    return text + "</tbody></table></div>\n"


def judged(value, target):
    if value is None:
        return "–"
    return (share(value), "" if not target else "own pass" if value >= target else "own differs")


def of_group(name, prefix):
    return name == prefix or name.startswith(prefix + "/") or name.startswith(prefix + "_")


def short(name, prefix):
    rest = name[len(prefix) :].lstrip("/")
    return rest.replace("_xTdy/", "xᵀ dy  ").replace("_dyWT/", "dy Wᵀ  ").replace("_xW/", "x W  ") or name


def share_table(cases, labels, isa):
    """Shares of the limit, and whatever counters the cases have in common."""
    peers = [p for p in PEERS if any(c.share_of(p) is not None for c in cases)]
    extras = [
        (k, title, digits)
        for k, title, digits in (
            ("GFLOP/s", "GFLOP/s", 3),
            ("GB/s", "GB/s", 3),
            ("samples/s", "samples/s", 4),
            ("by hand_samples/s", "by hand", 4),
            ("us/sample", "µs a sample", 3),
            ("ns/parameter", "ns a parameter", 3),
            ("ns/element", "ns an element", 3),
            ("allocations", "heap", 3),
        )
        if any(c.best(k) is not None for c in cases)
    ]
    head = ["case", *(title for _, title, _ in extras), "% of limit", "median", "± spread"]
    targets = isa != "scalar" and any(c.target for c in cases)
    head += ["target"] if targets else []
    head += [*peers, "× best peer"] if peers else []
    rows = []
    for c, label in zip(cases, labels):
        if c.error:
            rows.append([label, (c.error, "text differs")])
            continue
        cells = [label, *(number(c.least(k) if k.startswith(("ns", "us")) else c.best(k), d) for k, _, d in extras)]
        target = c.target if targets else None
        cells += [judged(c.share_of(OWN), target), share(c.median_of(OWN)), share(c.median("spread"))]
        if targets:
            cells.append(share(c.target))
        if peers:
            best = c.best_peer()
            cells += [(share(c.share_of(p)), "best" if best and best[1] == p else "") for p in peers]
            cells.append(f"{c.share_of(OWN) / best[0]:.2f}" if best else "–")
        rows.append(cells)
    good = [c for c in cases if not c.error]
    if len(good) > 2 and peers:
        cells = [
            "geometric mean",
            *("" for _ in extras),
            share(geomean([c.share_of(OWN) for c in good])),
            share(geomean([c.median_of(OWN) for c in good])),
            "",
        ]
        cells += [""] if targets else []
        for p in peers:
            all_of_it = [c.share_of(p) for c in good]
            cells.append(share(geomean(all_of_it)) if None not in all_of_it else "–")
        cells.append(
            f"{geomean([c.share_of(OWN) / c.best_peer()[0] for c in good]):.2f}"
            if all(c.best_peer() for c in good)
            else ""
        )
        rows.append(("mean", cells))
    return table(head, rows)


def plain_table(cases, labels):
    keys = [
        (k, title)
        for k, title in (
            ("GFLOP/s", "GFLOP/s"),
            ("flop/cycle", "flop a cycle"),
            ("GB/s", "GB/s"),
            ("flop/byte", "flop a byte"),
            ("us", "µs"),
            ("cycles", "cycles"),
            ("ns/element", "ns an element"),
            ("libc_ns/element", "C library"),
            ("times_faster", "times faster"),
            ("arena", "arena, bytes"),
            ("allocations", "heap"),
            ("spread", "± spread"),
        )
        if any(c.best(k) is not None for c in cases)
    ]
    lower = ("us", "cycles", "ns/element", "libc_ns/element", "flop/byte")
    rows = [
        [
            l,
            *(
                number(
                    c.least(k) if k in lower else c.median(k) if k in ("spread", "times_faster") else c.best(k),
                    8 if k == "arena" else 2 if k == "spread" else 3,
                )
                for k, _ in keys
            ),
        ]
        if not c.error
        else [l, (c.error, "text differs")]
        for c, l in zip(cases, labels)
    ]
    return table(["case", *(title for _, title in keys)], rows)


def summary(cases):
    """Target, reached and best peer: a row for cases of one group that have one target, or a case of its own."""
    groups = {}
    for c in cases:
        if not c.target or c.error:
            continue
        alone = c.name.startswith(("train/", "predict/"))
        key = c.name if alone else c.name.rsplit("/", 1)[0]
        groups.setdefault((key, c.target), []).append(c)
    rows, reached = [], 0
    for (key, target), members in groups.items():
        values = [c.share_of(OWN) for c in members]
        mean, medians = geomean(values), geomean([c.median_of(OWN) for c in members])
        peers = [
            (geomean([c.share_of(p) for c in members]), p)
            for p in PEERS
            if all(c.share_of(p) is not None for c in members)
        ]
        best = max(peers) if peers else None
        reached += mean >= target
        title = members[0].name if len(members) == 1 else f"{key} ({len(members)} cases, geometric mean)"
        rows.append(
            [
                title,
                share(target),
                judged(mean, target),
                share(medians),
                share(min(values)),
                f"{share(best[0])} {best[1]}" if best else "–",
                f"{mean / best[0]:.2f}" if best else "–",
            ]
        )
    head = ["% of the limit", "target", "reached (best)", "median", "lowest case", "best peer", "× best peer"]
    return f"{reached} of {len(rows)} targets are reached.", table(head, rows)


def facts(context, cases):
    caches = ", ".join(
        f"L{c['level']} {c['type'].lower()} {c['size'] // 1024} KiB"
        for c in context.get("caches", [])
        if c.get("type") != "Instruction"
    )
    rows = [
        [
            "processor",
            (
                f"{context.get('processor', '?')}, {context.get('num_cpus', '?')} processors, "
                f"running at {context.get('clock', '?')}",
                "text",
            ),
        ],
        ["caches", (caches, "text")],
        ["compiler", (context.get("compiler", "?"), "text")],
        ["FMA peak", (context.get("FMA peak", "?"), "text")],
        ["load when started", (", ".join(f"{x:.1f}" for x in context.get("load_avg", [])), "text")],
        [
            "taken",
            (
                f"{context.get('date', '?')}; {context.get('case time', '?')} a case and library, "
                f"repetitions: {max((len(c.runs) for c in cases), default=0)}",
                "text",
            ),
        ],
    ]
    rows += [[key[len("peer ") :], (value, "text")] for key, value in context.items() if key.startswith("peer ")]
    if "peers" in context:
        rows.append(["peers", (context["peers"], "text")])
    return table([], rows)


def page(results, out):
    body = ""
    links = "".join(f'<a href="#{isa}">{isa}</a>' for isa, _, _ in results)
    for isa, context, cases in results:
        body += f'<h2 id="{isa}">{isa}</h2>\n'
        contents = [(prefix, title) for prefix, title, _ in GROUPS if any(of_group(c.name, prefix) for c in cases)]
        body += (
            "<nav>"
            + " ".join(f'<a href="#{isa}-{p.replace("/", "-")}">{html.escape(t)}</a>' for p, t in contents)
            + "</nav>\n"
        )
        body += facts(context, cases)
        wrong = [c for c in cases if c.error]
        if wrong:
            body += "<p><b>These cases failed and were not timed:</b></p>" + table(
                ["case", "why"], [[c.name, (c.error, "text differs")] for c in wrong]
            )
        if isa != "scalar":
            sentence, text = summary(cases)
            body += f"<h3>Targets</h3>\n<p>{sentence}</p>\n{text}"
        else:
            body += (
                '<p class="soft">The scalar kernels are the reference of the others; no target is set for them.</p>\n'
            )
        lost = [c.name for c in cases if not any(of_group(c.name, prefix) for prefix, _, _ in GROUPS)]
        if lost:
            sys.exit(f"report: {lost[0]}: no group of report.py takes cases of this name")
        for prefix, title, explanation in GROUPS:
            members = [c for c in cases if of_group(c.name, prefix)]
            if not members:
                continue
            body += f'<h3 id="{isa}-{prefix.replace("/", "-")}">{html.escape(title)}</h3>\n'
            body += f'<p class="soft">{html.escape(explanation)}</p>\n' if explanation else ""
            labels = [short(c.name, prefix) for c in members]
            shared = [(c, l) for c, l in zip(members, labels) if c.share_of(OWN) is not None]
            if not shared:
                body += plain_table(members, labels)
                continue
            body += dots([c for c, _ in shared], [l for _, l in shared])
            body += share_table(members, labels, isa)
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
        'content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src '
        "'none'; img-src data:; style-src 'unsafe-inline'\">\n<title>Ferrite benchmarks</title>\n<style>"
        + STYLE
        + "</style>\n</head>\n<body>\n<main>\n<h1>Ferrite benchmarks</h1>\n"
        f'<p class="soft">Made {datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}</p>\n'
        "<p>Everything runs on one processor with one thread, in single precision. A case, its limit and its peers are "
        "timed in turn, in blocks of half a millisecond or more, after their results were verified. <b>% of limit</b> compares the "
        "best block of a case with the best block of the limit; <b>median</b> is that of neighbouring blocks, which "
        "other work on the machine disturbs alike; <b>spread</b> is half the distance of the quartiles of the latter, in percent of it. "
        "Peers show their best blocks; the best of them is underlined. <b>heap</b> counts the heap allocations of a call.</p>\n"
        f"<p>Instruction sets: {links}</p>\n{body}</main>\n</body>\n</html>\n"
    )
    (out / "report.html").write_text(text, encoding="utf-8")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)


def main():
    parser = Parser(prog="report", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="look at each case for a moment")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the page and the JSON files go (build-bench/report)"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="run nothing: the page of the JSON files in DIR"
    )
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--program", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--default-out", type=Path, default=Path("build-bench/report"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        return 0
    out = arguments.out or arguments.source or arguments.default_out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"{out}: {error.strerror}") from error
    if arguments.source:
        files = sorted(arguments.source.glob("*.json"))
    else:
        files = [out / f"{isa}.json" for isa in ISAS if run(arguments.program, isa, out, arguments.quick)]
    if not files:
        raise Problem(f"{arguments.source or out}: no results: expected JSON files of ferrite_bench")
    results = [(context.get("isa", file.stem), context, cases) for file in files for context, cases in [read(file)]]
    results.sort(key=lambda r: ISAS.index(r[0]) if r[0] in ISAS else len(ISAS))
    page(results, out)
    print(out / "report.html")
    return 1 if any(c.error for _, _, cases in results for c in cases) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        print(f"report: {problem}", file=sys.stderr)
        sys.exit(2)
