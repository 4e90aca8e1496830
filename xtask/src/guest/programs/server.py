import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.wfile.write(answer)
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
