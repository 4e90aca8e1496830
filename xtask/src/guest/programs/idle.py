import http.client
import sys
import time
port, patience = int(sys.argv[1]), sys.argv[2]
c = http.client.HTTPConnection("127.0.0.1", port)
c.request("GET", "/page")
print(c.getresponse().read().decode().strip(), flush=True)
if patience == "forever":
    time.sleep(3600)
try:
    assert c.sock.recv(1) == b""
except ConnectionResetError:
    pass
time.sleep(float(patience))
c.close()
