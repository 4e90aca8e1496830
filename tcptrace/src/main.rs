//! Why did TCP wait?
fn main() {}
