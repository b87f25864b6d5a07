//! The tc classifiers' parts: [`maps`], the [`skb`] they look at, the parser ([`parse`]), the tables and flows of the
//! decision function over BPF maps ([`tables`], [`flows`]), and what they [`report`].
//!
//! Only netpol-common is known here: nothing of Kubernetes, nothing of names.
#![no_std]
#![feature(asm_experimental_arch)]

pub mod flows;
pub mod maps;
pub mod parse;
pub mod report;
pub mod skb;
pub mod tables;
