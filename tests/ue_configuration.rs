//! The initial UE configuration document.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use migcore::{identity::Plmn, ue_configuration::InitialUeConfiguration};
#[test]
fn first() {
    let made =
        InitialUeConfiguration::for_domain("b.example", Plmn::parse("00101").unwrap()).unwrap();
    println!("{}", made.render());
    assert_eq!(InitialUeConfiguration::parse(&made.render()).unwrap(), made);
}
