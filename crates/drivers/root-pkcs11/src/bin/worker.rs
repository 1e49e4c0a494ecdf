//! The worker as a program of its own, for the tests of this crate.
#![forbid(unsafe_code)]

fn main() -> std::io::Result<()> {
    keyreeve_root_pkcs11::worker::run()
}
