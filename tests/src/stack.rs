//! How much stack a loaded program needs, read off its translated instructions as `bpftool` prints them.
//!
//! The kernel computes the same and tells only in the log of a failed load. Each frame counts in units of
//! 32 bytes, as in `check_max_stack_depth` (kernel/bpf/verifier.c); from 6.9 on, 16 where the JIT is on.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// A function of a program.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Lowest address below the frame pointer that it names.
    depth: u32,
    /// First instructions of the functions it calls, or hands to `bpf_loop`.
    calls: Vec<u32>,
}

/// Bytes of stack along the deepest chain of calls, and that chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Bytes.
    pub bytes: u32,
    /// Names, outermost first.
    pub chain: Vec<String>,
}

/// The stack of the loaded program with this id.
pub fn of_program(id: u32) -> Result<Stack> {
    let output = Command::new("bpftool")
        .args(["prog", "dump", "xlated", "id", &id.to_string()])
        .output()
        .context("run bpftool; install it with `apt-get install bpftool`")?;
    if !output.status.success() {
        bail!("bpftool prog dump xlated id {id}: {}", String::from_utf8_lossy(&output.stderr));
    }
    deepest(&String::from_utf8_lossy(&output.stdout))
}

/// The deepest chain in the text that `bpftool prog dump xlated` prints.
fn deepest(text: &str) -> Result<Stack> {
    let functions = parse(text)?;
    let mut best = Stack { bytes: 0, chain: Vec::new() };
    descend(&functions, 0, 0, &mut Vec::new(), &mut best);
    Ok(best)
}

fn descend(
    functions: &BTreeMap<u32, Function>,
    start: u32,
    above: u32,
    chain: &mut Vec<String>,
    best: &mut Stack,
) {
    let Some(function) = functions.get(&start) else { return };
    let bytes = above + function.depth.max(1).next_multiple_of(32);
    chain.push(function.name.clone());
    if bytes > best.bytes {
        *best = Stack { bytes, chain: chain.clone() };
    }
    for callee in &function.calls {
        descend(functions, *callee, bytes, chain, best);
    }
    chain.pop();
}

/// Functions by their first instruction. Names are not unique.
fn parse(text: &str) -> Result<BTreeMap<u32, Function>> {
    let mut functions: BTreeMap<u32, Function> = BTreeMap::new();
    let mut awaiting = None;
    for line in text.lines() {
        if let Some(signature) = line.strip_suffix("):") {
            // Of a generic function, the name without its parameters.
            let name = signature.split('(').next().and_then(|s| s.split_whitespace().last());
            let name = name.and_then(|name| name.split("_3C_").next());
            awaiting = name.map(str::to_owned);
        } else if let Some((index, _)) = instruction(line)
            && let Some(name) = awaiting.take()
        {
            functions.insert(index, Function { name, ..Function::default() });
        }
    }
    ensure!(functions.contains_key(&0), "no function in what bpftool printed");
    let mut copies_of_fp: Vec<&str> = Vec::new();
    for (index, text) in text.lines().filter_map(instruction) {
        let Some((_, function)) = functions.range_mut(..=index).next_back() else { continue };
        let mut words = text.split_whitespace().skip(1);
        match (words.next(), words.next(), words.next()) {
            (Some(register), Some("="), Some("r10")) => copies_of_fp.push(register),
            (Some(register), Some("+="), Some(offset)) if copies_of_fp.contains(&register) => {
                copies_of_fp.retain(|r| *r != register);
                function.depth = function.depth.max(below(offset));
            }
            _ => {}
        }
        if let Some((_, at)) = text.split_once("(r10 ") {
            function.depth = function.depth.max(below(at.split(')').next().unwrap_or_default()));
        }
        let called = match (text.split_once("call pc"), text.split_once("subprog[")) {
            (Some((_, call)), _) => call.split('#').next(),
            (_, Some((_, reference))) => reference.split(']').next(),
            _ => None,
        };
        let target = called.and_then(|offset| i64::from(index).checked_add(1 + offset.parse::<i64>().ok()?));
        function.calls.extend(target.and_then(|t| u32::try_from(t).ok()));
    }
    Ok(functions)
}

/// Index and text of an instruction; other lines are source, or names.
fn instruction(line: &str) -> Option<(u32, &str)> {
    let (index, text) = line.trim_start().split_once(": ")?;
    Some((index.parse().ok()?, text))
}

/// `-40` is 40 bytes below the frame pointer.
fn below(offset: &str) -> u32 {
    offset.trim().parse::<i32>().map_or(0, |o| o.min(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_frames_and_callbacks_add_up() {
        let text = "\
u32 entry(struct xdp_md * ctx):
; some source
   0: (7b) *(u64 *)(r10 -40) = r1
   1: (85) call pc+3#bpf_prog_0000000000000000_leaf
   2: (18) r2 = subprog[+5]
   4: (95) exit
void leaf(void):
   5: (bf) r2 = r10
   6: (07) r2 += -8
   7: (95) exit
i64 callback(u32 n):
   8: (bf) r2 = r10
   9: (07) r2 += -100
  10: (95) exit
";
        let stack = deepest(text).unwrap();
        assert_eq!(stack, Stack { bytes: 64 + 128, chain: vec!["entry".into(), "callback".into()] });
    }
}
