// Crossbar: every output takes the word of the input that its selector names, registered.
module crossbar #(parameter PORTS = 4, SELECT = 2, WIDTH = 8) (
    input clk,
    input [PORTS*WIDTH-1:0] in,
    input [PORTS*SELECT-1:0] from,
    output reg [PORTS*WIDTH-1:0] out
);
    integer port;
    always @(posedge clk)
        for (port = 0; port < PORTS; port = port + 1)
            out[port*WIDTH +: WIDTH] <= in[from[port*SELECT +: SELECT]*WIDTH +: WIDTH];
endmodule
