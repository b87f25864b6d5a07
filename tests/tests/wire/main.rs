//! Real packets between network namespaces. Every denial has its positive control: without the policy the same packet
//! arrives.

mod laboratory;
