// Cyclic redundancy check of one byte a clock; polynomial x^8 + x^2 + x + 1.
module crc #(parameter WIDTH = 8, POLYNOMIAL = 8'h07) (
    input clk,
    input reset,
    input valid,
    input [7:0] data,
    output reg [WIDTH-1:0] remainder
);
    reg [WIDTH-1:0] next;
    integer place;
    always @* begin
        next = remainder;
        for (place = 7; place >= 0; place = place - 1)
            next = {next[WIDTH-2:0], 1'b0} ^ ({WIDTH{next[WIDTH-1] ^ data[place]}} & POLYNOMIAL);
    end
    always @(posedge clk)
        if (reset) remainder <= {WIDTH{1'b1}};
        else if (valid) remainder <= next;
endmodule
