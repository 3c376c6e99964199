//! The expressions our rules are made of, each as the list element that a rule wants. Register 1 is the first of 16
//! bytes and the start of keys put together from several values; registers 9 and 10 are the second and third four bytes
//! of the same place, register 2 the next 16 bytes, whose four-byte parts are 12 to 15. Where an address lies in the
//! header, and what follows it in a register, depends on the family.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::netlink::Writer;
use super::{Family, NFTA_DATA_VALUE, NFTA_LIST_ELEM};

/// The first register.
pub(super) const REG_1: u32 = 1;
/// The second register of 16 bytes.
pub(super) const REG_2: u32 = 2;
/// The second four bytes of register 1.
pub(super) const REG_1B: u32 = 9;

/// `iifname`.
pub(super) const META_IIFNAME: u32 = 6;
/// `oifname`.
pub(super) const META_OIFNAME: u32 = 7;
/// `meta l4proto`.
pub(super) const META_L4PROTO: u32 = 16;
/// Which address of the header.
#[derive(Clone, Copy)]
pub(super) enum Address {
    /// `saddr`.
    Source,
    /// `daddr`.
    Destination,
}

const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const LOOKUP_F_INV: u32 = 1;
const FIB_F_DADDR: u32 = 2;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const RTN_LOCAL: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const STATE_ESTABLISHED_RELATED: u32 = 2 | 4;
const STATUS_DNAT: u32 = 1 << 5;
const NAT_DNAT: u32 = 1;

/// `drop`.
pub(super) const DROP: u32 = 0;
/// `accept`.
pub(super) const ACCEPT: u32 = 1;
/// `return`.
pub(super) const RETURN: u32 = (-5i32).cast_unsigned();

/// Writes the expressions of one rule, one after the other.
pub(super) struct Expressions<'a, 'b>(pub(super) &'a mut Writer<'b>, pub(super) Family);

impl Expressions<'_, '_> {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        self.0.nest(NFTA_LIST_ELEM, |w| {
            w.text(1, name).nest(2, data);
        });
        self
    }

    /// Loads a fact about the packet.
    pub(super) fn meta(&mut self, key: u32, register: u32) -> &mut Self {
        self.expression("meta", |w| {
            w.be32(1, register).be32(2, key);
        })
    }

    /// Loads bytes of a header: of the link (0), the network (1) or the transport (2).
    pub(super) fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) -> &mut Self {
        self.expression("payload", |w| {
            w.be32(1, register).be32(2, base).be32(3, offset).be32(4, length);
        })
    }

    /// The register after an address that starts register 1.
    pub(super) fn after_address(&self) -> u32 {
        match self.1 {
            Family::V4 => REG_1B,
            Family::V6 => 12,
        }
    }

    fn offset(&self, address: Address) -> u32 {
        match (self.1, address) {
            (Family::V4, Address::Source) => 12,
            (Family::V4, Address::Destination) => 16,
            (Family::V6, Address::Source) => 8,
            (Family::V6, Address::Destination) => 24,
        }
    }

    /// Loads an address of the header into register 1.
    pub(super) fn address(&mut self, address: Address) -> &mut Self {
        self.payload(PAYLOAD_NETWORK, self.offset(address), self.1.length(), REG_1)
    }

    /// Loads the destination port.
    pub(super) fn destination_port(&mut self, register: u32) -> &mut Self {
        self.payload(PAYLOAD_TRANSPORT, 2, 2, register)
    }

    fn compare(&mut self, operator: u32, value: &[u8]) -> &mut Self {
        self.expression("cmp", |w| {
            w.be32(1, REG_1).be32(2, operator).nest(3, |w| {
                w.attr(NFTA_DATA_VALUE, value);
            });
        })
    }

    /// Goes on if register 1 is this.
    pub(super) fn equals(&mut self, value: &[u8]) -> &mut Self {
        self.compare(CMP_EQ, value)
    }

    /// Goes on if register 1 is not this.
    pub(super) fn differs(&mut self, value: &[u8]) -> &mut Self {
        self.compare(CMP_NEQ, value)
    }

    /// Goes on if the address lies in 127.0.0.0/8, or is ::1.
    pub(super) fn is_loopback(&mut self, address: Address) -> &mut Self {
        match self.1 {
            Family::V4 => self.payload(PAYLOAD_NETWORK, self.offset(address), 1, REG_1).compare(CMP_EQ, &[127]),
            Family::V6 => self.address(address).compare(CMP_EQ, &Ipv6Addr::LOCALHOST.octets()),
        }
    }

    /// Goes on if the packet comes in by (or, by `key`, goes out by) exactly this interface. Written as iptables-nft
    /// writes it, so that it can read the rule in a chain of its own.
    pub(super) fn interface_is(&mut self, key: u32, name: &str) -> &mut Self {
        let bytes: Vec<u8> = name.bytes().chain([0]).collect();
        self.meta(key, REG_1).compare(CMP_EQ, &bytes)
    }

    /// Goes on if the packet did not come in by the loopback device.
    pub(super) fn not_from_loopback_device(&mut self) -> &mut Self {
        let mut name = [0; 16];
        name[..2].copy_from_slice(b"lo");
        self.meta(META_IIFNAME, REG_1).compare(CMP_NEQ, &name)
    }

    /// Goes on if register 1 is in the set.
    pub(super) fn in_set(&mut self, set: &str) -> &mut Self {
        self.expression("lookup", |w| {
            w.text(1, set).be32(2, REG_1);
        })
    }

    /// Goes on if register 1 is not in the set.
    pub(super) fn not_in_set(&mut self, set: &str) -> &mut Self {
        self.expression("lookup", |w| {
            w.text(1, set).be32(2, REG_1).be32(5, LOOKUP_F_INV);
        })
    }

    /// Goes on if register 1 is a key of the map, with its value in register 1.
    pub(super) fn map(&mut self, map: &str) -> &mut Self {
        self.expression("lookup", |w| {
            w.text(1, map).be32(2, REG_1).be32(3, REG_1);
        })
    }

    /// Goes on if the destination is an address of this host.
    pub(super) fn local_destination(&mut self) -> &mut Self {
        self.expression("fib", |w| {
            w.be32(1, REG_1).be32(2, FIB_RESULT_ADDRTYPE).be32(3, FIB_F_DADDR);
        })
        .compare(CMP_EQ, &RTN_LOCAL.to_ne_bytes())
    }

    fn connection(&mut self, key: u32, any_of: u32) -> &mut Self {
        self.expression("ct", |w| {
            w.be32(1, REG_1).be32(2, key);
        });
        self.expression("bitwise", |w| {
            w.be32(1, REG_1).be32(2, REG_1).be32(3, 4);
            w.nest(4, |w| {
                w.attr(NFTA_DATA_VALUE, &any_of.to_ne_bytes());
            });
            w.nest(5, |w| {
                w.attr(NFTA_DATA_VALUE, &[0; 4]);
            });
        })
        .compare(CMP_NEQ, &[0; 4])
    }

    /// Goes on if the packet belongs to a connection that was let through.
    pub(super) fn established(&mut self) -> &mut Self {
        self.connection(CT_STATE, STATE_ESTABLISHED_RELATED)
    }

    /// Goes on if the connection's destination was rewritten: it came by a published port.
    pub(super) fn published(&mut self) -> &mut Self {
        self.connection(CT_STATUS, STATUS_DNAT)
    }

    /// Counts packets; only there because other tools expect it.
    pub(super) fn counter(&mut self) -> &mut Self {
        self.expression("counter", |w| {
            w.attr(1, &[0; 8]).attr(2, &[0; 8]);
        })
    }

    /// Ends the rule with a verdict.
    pub(super) fn verdict(&mut self, code: u32) {
        self.expression("immediate", |w| {
            w.be32(1, 0).nest(2, |w| {
                w.nest(2, |w| {
                    w.be32(1, code);
                });
            });
        });
    }

    /// Rewrites the source to the address of the interface the packet leaves by.
    pub(super) fn masquerade(&mut self) {
        self.expression("masq", |_| {});
    }

    /// Goes on if a fact about the packet is this.
    pub(super) fn meta_is(&mut self, key: u32, value: &[u8]) -> &mut Self {
        self.meta(key, REG_1).compare(CMP_EQ, value)
    }

    /// Goes on if the packet is for this address and port.
    pub(super) fn destination_is(&mut self, address: Ipv4Addr, port: u16) -> &mut Self {
        self.address(Address::Destination).compare(CMP_EQ, &address.octets());
        self.destination_port(REG_1).compare(CMP_EQ, &port.to_be_bytes())
    }

    /// Rewrites the destination to this address and port.
    pub(super) fn redirect_to(&mut self, address: Ipv4Addr, port: u16) {
        for (register, value) in [(REG_1, &address.octets()[..]), (REG_1B, &port.to_be_bytes()[..])] {
            self.expression("immediate", |w| {
                w.be32(1, register).nest(2, |w| {
                    w.attr(NFTA_DATA_VALUE, value);
                });
            });
        }
        self.redirect();
    }

    /// Rewrites the destination to the address in register 1 and the port in the four bytes after it.
    pub(super) fn redirect(&mut self) {
        let (family, port) = (u32::from(self.1.number()), self.after_address());
        self.expression("nat", |w| {
            w.be32(1, NAT_DNAT).be32(2, family).be32(3, REG_1).be32(5, port);
        });
    }
}
