# SPDX-License-Identifier: MIT
"""bench/device/counts on made-up counts, which a made-up emulator gives. python3 bench_counts_test.py COUNTS"""
import os
import subprocess
import sys
import tempfile
import unittest

COUNTS = sys.argv.pop(1)

EMULATOR = """#!/bin/sh
# -plugin NAME,out=FILE DIRECTORY: the runs of a program that counts, one after the other.
out=${2#*,out=}
cd "$3" || exit 1
cat output
[ ! -f counts ] || cat counts >"$out"
[ ! -f next ] || mv next counts
exit "$(cat code)"
"""
CHECKED = [("counter/nothing", 1, "mark", 0), ("counter/loop", 2001, "instruction", 2001)]
HEADER = "case,units,unit,instructions\n"


def pins_of(*cases):
    return HEADER + "".join("{},{},{},{}\n".format(*case) for case in (*CHECKED, *cases))


class Base(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.write("emulator", EMULATOR)
        os.chmod(self.path("emulator"), 0o755)
        self.write("code", "0")

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def write(self, name, content):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(content)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def program(self, *cases):
        cases = (*CHECKED, *cases)
        self.write("output", "".join(f"{name},{units},{unit}\n" for name, units, unit, _ in cases))
        self.write("counts", "".join(f"{case[3]}\n" for case in cases))

    def run_counts(self, *arguments):
        done = subprocess.run([sys.executable, COUNTS, *arguments], capture_output=True, text=True, check=False)
        self.error = done.stderr.replace(self.directory.name + "/", "")
        self.out = done.stdout.replace(self.directory.name + "/", "")
        return done.returncode

    def refused(self, code, line):
        self.assertEqual((code, self.out, self.error), (2, "", f"counts: {line}\n"))


class Counts(Base):
    def counts(self, action, pins="some.csv"):
        return self.run_counts(action, self.path(pins), "plugin.so", self.path("emulator"), self.directory.name)

    def found(self, *lines, pins="some.csv"):
        """check says these lines, one a finding, then how many."""
        self.assertEqual(self.counts("check", pins), 1)
        said = self.out.splitlines()
        self.assertEqual(said[:-1], list(lines))
        self.assertTrue(said[-1].startswith(f"findings: {len(lines)}, cases: "), said[-1])
        self.assertEqual(self.error, "")

    def test_within_the_margin(self):
        self.write("some.csv", pins_of(("more", 100, "parameter", 1000), ("less", 100, "parameter", 1000)))
        self.program(("more", 100, "parameter", 1030), ("less", 100, "parameter", 970))
        self.assertEqual(self.counts("check"), 0)
        self.assertEqual(self.out, "4 cases take the instructions that are pinned for some\n")

    def test_a_regression(self):
        self.write("some.csv", pins_of(("x", 100, "multiply-add", 1000), ("y", 1, "step", 1000)))
        self.program(("x", 100, "multiply-add", 1031), ("y", 1, "step", 2000))
        self.found(
            "x: regressed: 10.31 instructions a multiply-add, pinned 10.00, +3.1 %",
            "y: regressed: 2,000 instructions a step, pinned 1,000, +100.0 %",
        )

    def test_better_than_pinned(self):
        self.write("some.csv", pins_of(("x", 1000, "element", 1000)))
        self.program(("x", 1000, "element", 900))
        self.found("x: is better; renew: 0.9000 instructions an element, pinned 1.000, -10.0 %")

    def test_cases_that_are_missing_or_not_pinned_or_of_other_units(self):
        self.write("some.csv", pins_of(("a", 1, "step", 5), ("b", 2, "step", 5)))
        self.program(("b", 3, "step", 5), ("c", 1, "step", 5))
        self.found(
            "b: 3 times step, pinned are 2 times step; renew",
            "c: is not pinned; renew",
            "a: is pinned, but was not counted",
        )

    def test_a_broken_promise_cannot_be_pinned(self):
        self.program(("product/cube/256x256x256", 1000, "multiply-add", 313))
        self.assertEqual(self.counts("renew", "aarch64.csv"), 0)
        line = "product/cube/256x256x256: 0.3130 instructions a multiply-add, promised are 0.3125 at most"
        self.assertEqual(self.out, f"aarch64.csv: 3 cases\n{line}\n")
        self.found(line, pins="aarch64.csv")
        self.program(("product/cube/256x256x256", 1000, "multiply-add", 312))
        self.assertEqual(self.counts("check", "aarch64.csv"), 0)

    def test_a_promise_without_a_case(self):
        self.write("aarch64.csv", pins_of())
        self.program()
        self.found(
            "no case is 'product/cube/256x256x256', for which at most 0.3125 instructions are promised", pins="aarch64.csv"
        )

    def test_renew_and_check(self):
        self.write("some.csv", "anything")
        self.program(("x", 3, "step", 7))
        self.assertEqual(self.counts("renew"), 0)
        self.assertEqual(self.read("some.csv"), pins_of(("x", 3, "step", 7)))
        self.assertEqual(self.counts("check"), 0)

    def test_two_runs_that_differ_are_not_pinned(self):
        self.write("some.csv", "as before")
        self.program(("x", 3, "step", 8))
        other = self.read("counts")
        self.program(("x", 3, "step", 7))
        self.write("next", other)
        self.refused(self.counts("renew"), "x: two runs differ, so there is nothing to pin")
        self.assertEqual(self.read("some.csv"), "as before")

    def test_a_counter_that_miscounts(self):
        self.write("some.csv", pins_of())
        self.write("output", "counter/nothing,1,mark\ncounter/loop,2001,instruction\n")
        self.write("counts", "0\n2002\n")
        self.refused(self.counts("check"), "the counter does not work: counter/loop is 2002, not 2001")
        self.write("output", "x,1,step\n")
        self.write("counts", "5\n")
        self.refused(self.counts("check"), "the counter does not work: counter/nothing is nothing, not 0")

    def test_a_program_that_fails(self):
        self.write("some.csv", pins_of())
        self.program(("x", 1, "step", 1))
        self.write("code", "119")
        self.refused(self.counts("check"), f"{self.directory.name} ended with code 119 after 'x,1,step'")

    def test_output_that_is_none(self):
        self.write("some.csv", pins_of())
        here = self.directory.name
        self.program(("x", 1, "step", 1))
        self.write("counts", "0\n2001\n")
        self.refused(self.counts("check"), f"{here}: 3 cases, but 2 counts")
        self.write("counts", "0\n2001\nmany\n")
        self.refused(self.counts("check"), "x: 'many' should be a whole number")
        self.write("output", "fault\n")
        self.write("counts", "1\n")
        self.refused(self.counts("check"), f"{here}: 'fault' should be a case, units and the name of a unit")
        os.remove(self.path("counts"))
        self.refused(self.counts("check"), "plugin.so wrote no counts")

    def test_an_emulator_that_is_not_there(self):
        self.write("some.csv", pins_of())
        self.refused(self.run_counts("check", self.path("some.csv"), "plugin.so", "no-such-qemu", "x"),
                     "no-such-qemu: No such file or directory")
        self.refused(self.run_counts("check", self.path("some.csv"), "plugin.so"),
                     "there should be an emulator and a program")

    def test_bad_pins(self):
        self.program()
        self.refused(self.counts("check"), "some.csv: cannot be read: No such file or directory")
        for content, line in (
            ("", f"some.csv: the first line should be '{HEADER.strip()}'"),
            (HEADER + "x,1,step\n", "some.csv:2: 'x,1,step' should have 4 fields"),
            (HEADER + "x,1,step,-5\n", "some.csv:2: '-5' should be a whole number"),
            (HEADER + "x,0,step,5\n", "some.csv:2: a case without a name, units or their name"),
            (HEADER + 2 * "x,1,step,5\n", "some.csv:3: x stands there twice"),
        ):
            with self.subTest(content=content):
                self.write("some.csv", content)
                self.refused(self.counts("check"), line)


class Table(Base):
    """The table is made of the pins of the repository, copied so that they may be changed."""

    def setUp(self):
        super().setUp()
        source = os.path.dirname(os.path.abspath(COUNTS))
        for name in os.listdir(source):
            if name.endswith(".csv"):
                with open(os.path.join(source, name), encoding="ascii") as file:
                    self.write(name, file.read())
        self.assertEqual(self.run_counts("table", self.directory.name), 0)
        self.table = self.out

    def test_the_table_is_found_and_replaced(self):
        text = "before\n\n{}\nafter | this\n"
        self.write("page.md", text.format(self.table))
        self.assertEqual(self.run_counts("table", self.directory.name, "--in", self.path("page.md")), 0)
        lines = self.table.splitlines(keepends=True)
        stale = "".join([*lines[:2], lines[2].replace("1", "7"), *lines[3:]])
        self.write("page.md", text.format(stale))
        self.assertEqual(self.run_counts("table", self.directory.name, "--in", self.path("page.md")), 1)
        self.assertEqual(self.out, f"page.md has: {lines[2].replace('1', '7')}the pins: {lines[2]}")
        self.assertEqual(self.run_counts("table", self.directory.name, "--into", self.path("page.md")), 0)
        self.assertEqual(self.read("page.md"), text.format(self.table))

    def test_a_page_without_the_table(self):
        self.write("page.md", "| case |\n")
        code = self.run_counts("table", self.directory.name, "--in", self.path("page.md"))
        self.refused(code, f"page.md: there is no line '{self.table.splitlines()[0]}'")

    def test_pins_that_lack_a_row(self):
        pins = self.read("aarch64.csv").splitlines(keepends=True)
        self.write("aarch64.csv", "".join(line for line in pins if not line.startswith("elementary/tanh,")))
        self.refused(self.run_counts("table", self.directory.name), "aarch64.csv: elementary/tanh is missing")


if __name__ == "__main__":
    unittest.main()
