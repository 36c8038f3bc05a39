//! Where a message ends: HTTP and SIP on a stream, and Diameter.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};

/// Longest message, octets.
const MESSAGE_OCTETS_MAX: usize = 1 << 20;

/// Reads one message of HTTP or SIP as it is: a head that ends with an empty line, and a body as long
/// as the Content-Length says. `None` at the end of the stream.
pub async fn read_text(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    let mut length = 0;
    loop {
        let begin = message.len();
        if reader.read_until(b'\n', &mut message).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&message[begin..]).trim_end().to_owned();
        match line.split_once(':') {
            Some((name, value))
                if ["content-length", "l"].contains(&&*name.trim().to_ascii_lowercase()) =>
            {
                length = value.trim().parse().map_err(|_| invalid("no length"))?;
            }
            Some((name, _)) if name.trim().eq_ignore_ascii_case("transfer-encoding") => {
                return Err(invalid("a body in chunks, which this proxy does not know"));
            }
            _ => {}
        }
        if line.is_empty() && begin == 0 {
            message.clear(); // a keep-alive of SIP
        } else if line.is_empty() {
            break;
        }
        if message.len() + length > MESSAGE_OCTETS_MAX {
            return Err(invalid("too long"));
        }
    }
    let begin = message.len();
    message.resize(begin + length, 0);
    reader.read_exact(&mut message[begin..]).await?;
    Ok(Some(message))
}

/// Reads one Diameter message (RFC 6733 section 3). `None` at the end of the stream.
pub async fn read_diameter(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; 4];
    if let Err(error) = reader.read_exact(&mut message).await {
        let ended = error.kind() == io::ErrorKind::UnexpectedEof;
        return if ended { Ok(None) } else { Err(error) };
    }
    let length = u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
    if !(20..=MESSAGE_OCTETS_MAX).contains(&length) {
        return Err(invalid("no length of a Diameter message"));
    }
    message.resize(length, 0);
    reader.read_exact(&mut message[4..]).await?;
    Ok(Some(message))
}

/// The command code of a Diameter message.
pub fn command_code(message: &[u8]) -> u32 {
    u32::from_be_bytes([0, message[5], message[6], message[7]])
}

/// What follows the head of a message of HTTP or SIP.
pub fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(&[], |end| &message[end + 4..])
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_that_follow_each_other_are_told_apart() {
        let first = "\r\n\r\nPOST / HTTP/1.1\r\nContent-LENGTH : 4\r\n\r\n\r\n\r\n".as_bytes();
        let second = b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n";
        let stream = [first, second, b"POST / HT"].concat();
        let mut reader = &stream[..];
        let message = read_text(&mut reader).await.unwrap().unwrap();
        assert_eq!((&message[..], body(&message)), (&first[4..], &b"\r\n\r\n"[..]));
        assert_eq!(read_text(&mut reader).await.unwrap().unwrap(), second);
        assert_eq!(read_text(&mut reader).await.unwrap(), None);

        let mut watchdog = vec![1, 0, 0, 20, 0x80, 0, 1, 24];
        watchdog.resize(20, 7);
        let stream = [&watchdog[..], &watchdog[..], &[1, 0]].concat();
        let mut reader = &stream[..];
        for _ in 0..2 {
            let message = read_diameter(&mut reader).await.unwrap().unwrap();
            assert_eq!((&message, command_code(&message)), (&watchdog, 280));
        }
        assert_eq!(read_diameter(&mut reader).await.unwrap(), None);
        assert!(read_diameter(&mut &[1, 0, 0, 19, 0][..]).await.is_err());
        assert!(read_text(&mut &b"A / B\r\nTransfer-Encoding: chunked\r\n\r\n"[..]).await.is_err());
    }
}
