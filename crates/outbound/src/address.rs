//! Which addresses may be connected to. Ranges are those of the special-purpose registries of IANA (RFC 6890 and what
//! followed), as of 2026; what is unknown is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => public_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => public_v4(v4),
            None => public_v6(v6),
        },
    }
}

/// Whether an address is one of this machine or of a private network. Link-local ones are not among them: that is where
/// clouds tell machines their credentials.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => private_v4(v4),
            None => v6.is_loopback() || v6.is_unique_local(),
        },
    }
}

/// The address of version 4 that a mapped or translated one stands for.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let last = || {
        let ([g1, g2], [h1, h2]) = (g.to_be_bytes(), h.to_be_bytes());
        Ipv4Addr::new(g1, g2, h1, h2)
    };
    let mapped = [a, b, c, d, e] == [0; 5] && f == 0xffff;
    // NAT64, RFC 6052.
    let translated = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    (mapped || translated).then(last)
}

fn public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_private() || v4.is_loopback() || (a == 100 && (64..=127).contains(&b))
}

fn public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Global unicast, without what is set aside in it: protocol assignments and Teredo, documentation, 6to4.
    let unicast = (0x2000..=0x3fff).contains(&a);
    let special = (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    unicast && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_public() {
        for public in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.1"] {
            assert!(is_public(ip(public)) && !is_private(ip(public)), "{public}");
        }
        for public in
            ["2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
        {
            assert!(is_public(ip(public)) && !is_private(ip(public)), "{public}");
        }
    }

    #[test]
    fn private_networks_and_this_machine_are_private() {
        for private in
            ["10.0.0.1", "127.0.0.1", "127.8.8.8", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"]
        {
            assert!(!is_public(ip(private)) && is_private(ip(private)), "{private}");
        }
        for private in ["::1", "fc00::1", "fd12::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::192.168.0.1"] {
            assert!(!is_public(ip(private)) && is_private(ip(private)), "{private}");
        }
    }

    #[test]
    fn what_nobody_should_ask_is_neither() {
        let odd = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "::",
            "::7f00:1",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "4000::1",
        ];
        for odd in odd {
            assert!(!is_public(ip(odd)) && !is_private(ip(odd)), "{odd}");
        }
    }
}
