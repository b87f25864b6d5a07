//! The tc classifiers' parts: [`maps`], the [`skb`] they look at, the parser ([`parse`]), the tables and flows of the
//! decision function over BPF maps ([`tables`], [`flows`]), and what they [`report`].
//!
//! Only netpol-common is known here: nothing of Kubernetes, nothing of names.
//!
//! Whoever links this has every map in its object, and whoever loads an object makes every map of it anew that is not pinned.
//! So the entry and the gate, of which there are many, take its files as modules of their own.
#![no_std]
#![feature(asm_experimental_arch)]

mod called;
pub mod flows;
pub mod maps;
pub mod parse;
pub mod programs;
pub mod report;
pub mod short;
pub mod skb;
pub mod steps;
pub mod tables;
