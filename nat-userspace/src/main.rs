//! The `natgw` binary.

fn main() -> std::process::ExitCode {
    nat_userspace::main()
}
