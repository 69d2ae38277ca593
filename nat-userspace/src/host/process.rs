//! Processes of natgw.

/// Whether a process of natgw has this id. An id may have been given to another program by now.
pub fn is_natgw(pid: u32) -> bool {
    // "pid (comm) state ...": a zombie has ended, and waits for its parent to take note.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.split_once(" (natgw) ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}
