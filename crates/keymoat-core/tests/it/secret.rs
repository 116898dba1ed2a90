//! Proves that what a `Secret` must not be able to do does not compile.

#[test]
fn a_secret_cannot_be_cloned_copied_shown_or_serialized() {
    trybuild::TestCases::new().compile_fail("tests/secret/*.rs");
}
